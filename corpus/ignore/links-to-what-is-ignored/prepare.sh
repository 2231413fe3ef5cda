set -e
ln -s a.txt to-file
ln -s sub to-folder
