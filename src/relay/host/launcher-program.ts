/**
 * What the launcher runs, in Perl: of what is on nearly every Linux, the only thing that is small to fork and can tell a wait
 * status as it is.
 *
 * Its descriptor 3 is a socket to the keeper. Orders come in frames, a length in 4 bytes and then `S` to start a process, `H`
 * when the keeper has its pipes, `K` to kill it; what happens goes back in lines:
 * `ready`, `started ID PID STDIN STDOUT STDERR`, `failed ID ERRNO`, `ended ID STATUS`.
 * The numbers of pipes are descriptors of the launcher: the keeper opens them through /proc, and has ends of its own.
 *
 * Its signals are blocked wherever it does not wait for them, so that none can come between a look and the wait.
 */
export const LAUNCHER_PROGRAM = String.raw`
use strict;
use Fcntl qw(F_SETFD FD_CLOEXEC F_SETOWN F_SETFL O_ASYNC O_NONBLOCK O_RDWR);
use POSIX ();

$0 = "cerver-launcher";
open STDIN, "<", "/dev/null" or die;
open my $keeper, "+<&=", 3 or die;
fcntl $keeper, F_SETFD, FD_CLOEXEC or die;
my $no_signals = POSIX::SigSet->new;
my $signals = POSIX::SigSet->new(POSIX::SIGCHLD(), POSIX::SIGPOLL());
POSIX::sigprocmask(POSIX::SIG_BLOCK(), $signals) or die;
# A handler is no longer there after exec, where an ignored signal would stay ignored.
$SIG{$_} = sub { } for qw(CHLD IO HUP INT TERM PIPE);
signal_input($keeper, O_RDWR);

# By id: its process, and the keeper's ends of its pipes. By process: its id, and what will tell whether it became its program.
my (%pid_of, %pipes_of, %id_of, %news_of);
my $orders = "";
my $environment = "";

say_to_keeper("ready");
for (;;) {
  take_orders();
  hear_of($_) for keys %news_of;
  while ((my $pid = waitpid -1, POSIX::WNOHANG()) > 0) { bury($pid, $?) }
  POSIX::sigsuspend($no_signals);
}

sub signal_input {
  my ($handle, $flags) = @_;
  fcntl $handle, F_SETOWN, $$ + 0 or die;
  fcntl $handle, F_SETFL, $flags | O_ASYNC or die;
}

sub say_to_keeper { syswrite $keeper, "@_\n" }

sub take_orders {
  # 0x40 is MSG_DONTWAIT.
  while (defined recv $keeper, my $piece, 65536, 0x40) {
    leave() if $piece eq "";
    $orders .= $piece;
  }
  # A keeper that went without having read everything is told by a reset, once, and by nothing else.
  leave() if $! != POSIX::EAGAIN() && $! != POSIX::EINTR();
  while (length $orders >= 4) {
    my $length = unpack "N", $orders;
    last if length $orders < 4 + $length;
    my $order = substr $orders, 4, $length;
    substr $orders, 0, 4 + $length, "";
    my $verb = substr $order, 0, 1, "";
    if ($verb eq "S") { start(split /\0/, $order, 3) }
    elsif ($verb eq "H") { delete $pipes_of{$order} }
    elsif ($verb eq "K") { kill "KILL", $pid_of{$order} if $pid_of{$order} }
  }
}

# Without the keeper nobody hears what its processes say, nor how they end.
sub leave {
  kill "KILL", map { ($_, -$_) } values %pid_of;
  exit 0;
}

sub start {
  my ($id, $is_fed, $rest) = @_;
  my ($cwd, $cgroup, $file, $count, @rest) = split /\0/, $rest, -1;
  my @arguments = splice @rest, 0, $count;
  set_environment(@rest);
  my ($its_in, $in, $out, $its_out, $err, $its_err, $news, $tell);
  my $pid;
  if ((!$is_fed || pipe $its_in, $in) && pipe($out, $its_out) && pipe($err, $its_err) && pipe($news, $tell)) {
    signal_input($news, O_NONBLOCK);
    $pid = fork;
  }
  return say_to_keeper("failed", $id, $! + 0) unless defined $pid;
  if ($pid == 0) {
    join_cgroup($cgroup) if $cgroup ne "";
    become($its_in, $its_out, $its_err, $cwd, $file, @arguments);
    syswrite $tell, $! + 0;
    POSIX::_exit(127);
  }
  ($pid_of{$id}, $pipes_of{$id}, $id_of{$pid}, $news_of{$pid}) = ($pid, [$in, $out, $err], $id, $news);
}

# What the next child inherits. In the child each page that is written costs a fault, and most have the same as the last.
sub set_environment {
  my $wanted = join "\0", @_;
  return if $wanted eq $environment;
  $environment = $wanted;
  %ENV = ();
  for (@_) {
    my ($name, $value) = split /=/, $_, 2;
    $ENV{$name} = $value;
  }
}

# Whether this worked is seen by the keeper, which removes the group as well.
sub join_cgroup {
  my ($path) = @_;
  mkdir $path;
  open my $members, ">", "$path/cgroup.procs" or return;
  syswrite $members, "0";
}

# Like a child of the keeper: leads a session, has three descriptors, and no signal is blocked.
sub become {
  my ($in, $out, $err, $cwd, $file, @arguments) = @_;
  POSIX::setsid();
  POSIX::dup2(fileno $in, 0) or return if $in;
  POSIX::dup2(fileno $out, 1) or return;
  POSIX::dup2(fileno $err, 2) or return;
  chdir $cwd or return;
  POSIX::sigprocmask(POSIX::SIG_SETMASK(), $no_signals) or return;
  exec { $file } $file, @arguments;
}

# Its pipe is closed by exec, or brings the reason why there was none.
sub hear_of {
  my ($pid) = @_;
  my $length = sysread $news_of{$pid}, my $errno, 16;
  return unless defined $length;
  delete $news_of{$pid};
  my $id = $id_of{$pid};
  return say_to_keeper("started", $id, $pid, map { $_ ? fileno $_ : -1 } @{ $pipes_of{$id} }) if $length == 0;
  delete @pipes_of{ $id };
  delete $id_of{$pid};
  delete $pid_of{$id};
  say_to_keeper("failed", $id, $errno);
}

sub bury {
  my ($pid, $status) = @_;
  hear_of($pid) if $news_of{$pid};
  my $id = delete $id_of{$pid};
  return unless defined $id;
  delete $pid_of{$id};
  say_to_keeper("ended", $id, $status);
}
`;
