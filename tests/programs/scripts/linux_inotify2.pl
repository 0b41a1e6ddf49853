use strict;
use warnings;
use Linux::Inotify2;

$| = 1;
my $inotify = Linux::Inotify2->new or die "no instance: $!";
$inotify->watch("$ARGV[0]/none", IN_CREATE) or print "$!\n";
$inotify->watch($ARGV[0], IN_ALL_EVENTS, sub {
    my $event = shift;
    printf "%#x %s %d\n", $event->mask, $event->fullname, $event->cookie != 0;
}) or die "no watch: $!";
print "ready\n";
1 while $inotify->poll;
