mkdir -p t/there t/new
echo new > t/there/file
ln t/there/file t/new/hard
ln -s ../there/file t/new/soft
chmod 4755 t/new/hard
chmod 711 t/new
mkfifo t/new/fifo
tar --owner=11 --group=12 --sort=name --mtime=@1000000000 -C t -cf a.tar .
rm -r t
echo b > b.txt
