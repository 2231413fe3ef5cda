chmod 711 dir/sub dir/sub/deep
