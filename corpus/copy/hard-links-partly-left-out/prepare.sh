set -e
ln a b; ln a c
