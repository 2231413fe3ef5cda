set -e
mkdir empty
tar -cf empty.tar -T /dev/null
