echo hi > foo
tar --format=ustar -b 1 -cf x.tar foo
truncate -s -1 x.tar
