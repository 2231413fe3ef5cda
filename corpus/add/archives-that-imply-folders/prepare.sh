mkdir -p t/tmp t/users t/new/deep t/home/app
for path in tmp/a users/b new/deep/c home/app/d; do echo $path > t/$path; done
tar --owner=3 --group=4 --mtime=@1000000000 -C t -cf x.tar tmp/a users/b new/deep/c home/app/d
rm -r t
