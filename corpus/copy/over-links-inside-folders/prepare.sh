set -e
ln -s x tree/l
