mkdir deep
for path in one.sock deep/two.sock; do
    perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die $!' $path
    chmod 0640 $path
done
