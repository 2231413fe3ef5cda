<?php require "/var/www/vendor/autoload.php"; echo hello(mb_strtoupper("grüße")), "\n";
