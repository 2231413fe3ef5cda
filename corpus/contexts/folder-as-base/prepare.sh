mkdir tree/empty
chmod 4711 tree/bin/tool
chmod 1777 tree/empty
ln tree/bin/tool tree/bin/hard
