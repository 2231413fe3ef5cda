# Prints what a process of a RUN step may do and sees. One line a fact: NAME VALUE.
use strict; use warnings;
sub slurp { my $f=shift; open(my $h,'<',$f) or return "!$!"; local $/; my $t=<$h>; return defined $t ? $t : ''; }
my %names; 
sub fact { print "$_[0] $_[1]\n" }
# 1. status
for (split /\n/, slurp('/proc/self/status')) { fact("status.$1",$2) if /^(Cap\w+|NoNewPrivs|Seccomp|Uid|Gid|Groups|Umask):\s*(.*)/ }
# 2. limits
for (split /\n/, slurp('/proc/self/limits')) { fact("limit.$1","$2 $3") if /^Max (.*?)\s{2,}(\S+)\s+(\S+)/ }
# env
fact("env.$_",$ENV{$_}) for sort keys %ENV;
# fds
opendir(my $d,'/proc/self/fd'); my @fd=sort {$a<=>$b} grep {/^\d+$/ && -e "/proc/self/fd/$_"} readdir $d; fact('fds',join ',',grep {$_<3} @fd); fact('fds.more',scalar(grep {$_>=4} @fd));
fact('stdin', (readlink('/proc/self/fd/0')//'') =~ /^(pipe|\/dev\/null)/ ? $1 : 'else');
fact('tty', open(my $t,'<','/dev/tty') ? 'opens' : "$!");
fact('oom_score_adj', slurp('/proc/self/oom_score_adj')+0);
fact('pid1.environ', substr(slurp('/proc/1/environ'),0,1) eq '!' ? 'closed':'open');
my ($comm,@rest)=slurp('/proc/self/stat')=~/\((.*)\) (\S) (\d+) (\d+) (\d+) (\d+)/; fact('session.tty',$rest[4]);
fact('hostname', do { my $h=slurp('/proc/sys/kernel/hostname'); chomp $h; $h});
fact('domainname', do { my $h=slurp('/proc/sys/kernel/domainname'); chomp $h; $h});
# mounts
for (split /\n/, slurp('/proc/self/mountinfo')) { my ($a,$b)=split / - /; my @a=split / /,$a; my @b=split / /,$b; next if $a[4] eq '/'; fact("mount.$a[4]","$b[0] ".join(',',sort split /,/, $a[5])); }
# dev
for (sort glob '/dev/*') { my @s=lstat $_; fact("dev.$_",sprintf('%o %d:%d %s %s',$s[2],$s[4],$s[5],($s[6]>>8).':'.($s[6]&255), readlink($_)//'')) }
# masked
for my $p (qw(/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats /sys/firmware /sys/devices/virtual/powercap), glob('/sys/devices/system/cpu/cpu0/thermal_throttle')) {
  my $v; if (-d $p) { opendir(my $h,$p); my @e=grep {!/^\.\.?$/} readdir $h; $v=@e ? 'entries':'empty' } elsif (-e $p) { my $f; if(open $f,'<',$p){ my $n=read($f,my $x,1); $v=(defined $n && $n)?'content':'empty' } else {$v="$!"} } else { $v='absent' } fact("masked.$p",$v) }
for my $p (qw(/proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /proc/sysrq-trigger /proc/irq/default_smp_affinity /proc/bus/x /proc/fs/x /sys/kernel/x /sys/fs/cgroup/x /proc/self/oom_score_adj /proc/1/oom_score_adj /proc/mtrr /proc/kmsg /dev/kmsg /dev/mem /proc/self/uid_map)) { my $r; if (open my $h, '+<', $p) { $r='opens' } else { $r="$!" } fact("write.$p",$r) }
# syscalls: number and arguments chosen so that nothing happens when allowed.
my %calls=(mount=>[165,0,0,0,0,0],umount2=>[166,0,0],pivot_root=>[155,0,0],unshare_user=>[272,0x10000000],unshare_fs=>[272,0x200],setns=>[308,-1,0],clone_newuser=>[56,0x10000000|17,0,0,0,0],clone3=>[435,0,0],
 bpf=>[321,0,0,0],perf_event_open=>[298,0,0,-1,-1,0],keyctl=>[250,0,-3,0],add_key=>[248,0,0,0,0,0],request_key=>[249,0,0,0,0],io_uring_setup=>[425,0,0],io_uring_enter=>[426,-1,0,0,0,0],io_uring_register=>[427,-1,0,0,0],
 userfaultfd=>[323,0x7fffffff],ptrace=>[101,99,0,0,0],process_vm_readv=>[310,0,0,0,0,0,1],kcmp=>[312,0,0,99,0,0],pidfd_open=>[434,0,0],pidfd_getfd=>[438,-1,0,0],process_madvise=>[440,-1,0,0,0,0],open_by_handle_at=>[304,-1,0,0],name_to_handle_at=>[303,-1,0,0,0,0],
 fsopen=>[430,0,0],fsmount=>[432,-1,0,0],move_mount=>[429,-1,0,-1,0,0],open_tree=>[428,-1,0,0],fspick=>[433,-1,0,0],mount_setattr=>[442,-1,0,0,0,0],statmount=>[457,0,0,0,0],listmount=>[458,0,0,0,0],
 init_module=>[175,0,0,0],finit_module=>[313,-1,0,0],delete_module=>[176,0,0],kexec_load=>[246,0,0,0,0xffffffff],reboot=>[169,0,0,0,0],swapon=>[167,0,0],acct=>[163,0x1],settimeofday=>[164,0,0],clock_settime=>[227,99,0],adjtimex=>[159,0],iopl=>[172,0],ioperm=>[173,0,0,0],syslog=>[103,10,0,0],
 personality_query=>[135,0xffffffff],personality_aslr=>[135,0x0040000],quotactl=>[179,0,0,0,0],lookup_dcookie=>[212,0,0,0],vhangup=>[153],fanotify_init=>[300,0xffffffff,0],fanotify_mark=>[301,-1,0,0,0,0],mbind=>[237,0,0,0,0,0,0],set_mempolicy=>[238,99,0,0],get_mempolicy=>[239,0,0,0,0,0],move_pages=>[279,0,0,0,0,0,0],migrate_pages=>[256,0,0,0,0],
 sethostname=>[170,0,-1],setdomainname=>[171,0,-1],chroot=>[161,0],memfd_secret=>[447,0xffff],landlock=>[444,0,0,99],seccomp=>[317,99,0,0],modify_ldt=>[154,99,0,0],uselib=>[134,0],sysfs=>[139,99,0,0],ustat=>[136,0,0],_sysctl=>[156,0],nfsservctl=>[180,0,0,0],create_module=>[174,0,0],
 socket_unix=>[41,1,99,0],socket_inet=>[41,2,99,0],socket_netlink=>[41,16,99,0],socket_packet=>[41,17,99,0],socket_alg=>[41,38,5,0],socket_vsock=>[41,40,99,0],socket_xdp=>[41,44,99,0],socket_bluetooth=>[41,31,99,0],
 lsm_list_modules=>[461,0,0,1],mseal=>[462,1,0,0],open_tree_attr=>[467,-1,0,0,0,0],future=>[600],x32_getpid=>[0x40000000+39],pkey_alloc=>[330,99,99],rseq=>[334,0,0,99,0],cachestat=>[451,-1,0,0,0],futex_waitv=>[449,0,0,0,0,0],epoll_pwait2=>[441,-1,0,0,0,0],quotactl_fd=>[443,-1,0,0,0],process_mrelease=>[448,-1,0],set_mempolicy_home_node=>[450,0,0,0,1],map_shadow_stack=>[453,0,0,99],uretprobe=>[335],removexattrat=>[466,-1,0,0,0],remap_file_pages=>[216,0,0,0,99,0]);
for my $n (sort keys %calls) { my @a=@{$calls{$n}}; 
  my $pid=fork(); if(!defined $pid){fact("syscall.$n","fork $!");next}
  if(!$pid){ $!=0; my $r=syscall($a[0],map {$_+0} @a[1..$#a]); my $e=$!+0; exit($r==-1?$e:0) }
  waitpid $pid,0; my $s=$?; fact("syscall.$n", $s&127 ? 'signal '.($s&127) : do { $!=$s>>8; $s>>8 ? "$!" : 'works' }) }
for my $ns (qw(cgroup ipc mnt net pid user uts time)) { fact("ns.$ns", readlink("/proc/self/ns/$ns")//'none') }
