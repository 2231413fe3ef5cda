# perl setxattr.pl ARCHITECTURE PATH NAME HEX
use strict;
my ($architecture, $path, $name, $hex) = @ARGV;
my $value = pack("H*", $hex);
my $number = $architecture eq "arm64" ? 5 : 188;
syscall($number, $path, $name, $value, length($value), 0) == 0 or die "setxattr $path: $!";
