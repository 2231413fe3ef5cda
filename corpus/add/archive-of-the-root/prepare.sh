mkdir d
chmod 750 d
echo x > d/x
tar --owner=5 --group=6 -cf root.tar -C d .
rm -r d
