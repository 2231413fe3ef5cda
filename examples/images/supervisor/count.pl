#!/usr/bin/perl
print "Content-Type: text/plain\r\n\r\n";
open(my $file, '<', '/var/spool/work/ready') or print "not ready\n" and exit;
print 'work says ', <$file>;
