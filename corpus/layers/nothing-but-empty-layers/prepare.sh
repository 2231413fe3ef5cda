set -e
mkdir empty
