mkdir -p d/sub
echo x > d/x
echo y > d/sub/y
chmod 640 d/x
ln d/x d/same
ln -s x d/link
tar --owner=5 --group=6 -cf a.tar d
rm -r d
