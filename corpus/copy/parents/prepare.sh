chmod 711 src/lib
ln -s lib src/link
