#!/bin/sh
# Things that git does not keep.
set -eu
umask 022
for mode in 000 400 444 600 640 644 666 700 755 777 4755 2755 6711; do
    echo "$mode" > "file-$mode"
    chmod "$mode" "file-$mode"
done
mkdir empty sticky private shared
echo x > sticky/x
chmod 1777 sticky
chmod 700 private
chmod 2775 shared
echo x > setuid
chmod 4755 setuid
