set -e
touch -d '1970-01-01 00:00:00 UTC' a; touch -d '1965-05-05 05:05:05 UTC' b; touch -d '2038-01-19 03:14:08 UTC' c; touch -d '2200-01-01 00:00:00.5 UTC' d; touch -d '1999-12-31 23:59:59.999999 UTC' e/f; ln -s a l; touch -h -d '2001-01-01 UTC' l; touch -d '2003-03-03 UTC' e
