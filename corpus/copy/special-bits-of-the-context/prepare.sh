set -e
chmod 4755 suid; chmod 2750 sgid; chmod 1777 sticky; chmod 6711 both; chmod 000 both/g
