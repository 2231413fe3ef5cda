set -e
chmod 751 tree tree/sub; chmod 705 tree/sub/deep
