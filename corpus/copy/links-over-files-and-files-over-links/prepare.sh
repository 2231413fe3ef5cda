set -e
ln -s l s/f
