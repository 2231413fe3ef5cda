chmod 711 again/sub again/sub/deep
