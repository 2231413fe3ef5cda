# An archive as a package manager would have left it.
mkdir vendor
echo '<?php function hello($name) { return "hello $name"; }' >vendor/autoload.php
ln -s autoload.php vendor/alias.php
tar --sort=name --mtime=@1000000000 --owner=1 --group=1 -czf vendor.tar.gz vendor
rm -r vendor
