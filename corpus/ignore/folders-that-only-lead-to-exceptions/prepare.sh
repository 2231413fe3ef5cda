set -e
chmod 700 a/b; chmod 711 a/b/c
