set -e
mkdir .git && echo x > .git/config
