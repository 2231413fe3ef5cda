mkdir d
echo x > d/x
chmod 640 d/x
tar --owner=5 --group=6 -cf a.tar d
tar --owner=5 --group=6 -czf b.tar.gz -C d x
rm -r d
