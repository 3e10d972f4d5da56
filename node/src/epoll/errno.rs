//! What the numbers of the operating system mean to the event loop.
//!
//! Each call has its own table: the same number can ask for different things. What is not
//! named keeps its number and ends the connection that met it.

use crate::kernel::Errno;
use rustix::io::Errno as Os;

/// Of `accept4`.
pub(super) fn of_accept(os: Os) -> Errno {
    match os {
        // The connection died in the queue. accept(2) hands pending network errors of the
        // new socket over as its own; a firewall's refusal is EPERM.
        Os::CONNABORTED
        | Os::PROTO
        | Os::PERM
        | Os::NETDOWN
        | Os::NETUNREACH
        | Os::HOSTDOWN
        | Os::HOSTUNREACH
        | Os::NONET
        | Os::NOPROTOOPT
        | Os::OPNOTSUPP => Errno::Aborted,
        other => common(other),
    }
}

/// Of `epoll_ctl`, `recv` and `sendmsg`.
pub(super) fn of_socket(os: Os) -> Errno {
    match os {
        // The peer or the way to it is gone; keep-alive and TCP_USER_TIMEOUT end in the last
        // three.
        Os::CONNRESET
        | Os::CONNREFUSED
        | Os::CONNABORTED
        | Os::NOTCONN
        | Os::NETDOWN
        | Os::NETRESET
        | Os::NETUNREACH
        | Os::HOSTDOWN
        | Os::HOSTUNREACH
        | Os::TIMEDOUT => Errno::Reset,
        Os::PIPE => Errno::Pipe,
        other => common(other),
    }
}

fn common(os: Os) -> Errno {
    match os {
        // EWOULDBLOCK has the same number on Linux.
        Os::AGAIN => Errno::Again,
        Os::INTR => Errno::Interrupted,
        Os::MFILE | Os::NFILE => Errno::OutOfDescriptors,
        // ENOSPC is epoll's own: max_user_watches is a limit of memory.
        Os::NOBUFS | Os::NOMEM | Os::NOSPC => Errno::OutOfBuffers,
        other => Errno::Other(other.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_that_a_call_can_meet_has_its_meaning() {
        for (os, accept, socket) in [
            (Os::AGAIN, Errno::Again, Errno::Again),
            (Os::WOULDBLOCK, Errno::Again, Errno::Again),
            (Os::INTR, Errno::Interrupted, Errno::Interrupted),
            (Os::MFILE, Errno::OutOfDescriptors, Errno::OutOfDescriptors),
            (Os::NFILE, Errno::OutOfDescriptors, Errno::OutOfDescriptors),
            (Os::NOBUFS, Errno::OutOfBuffers, Errno::OutOfBuffers),
            (Os::NOMEM, Errno::OutOfBuffers, Errno::OutOfBuffers),
            (Os::NOSPC, Errno::OutOfBuffers, Errno::OutOfBuffers),
            (Os::CONNABORTED, Errno::Aborted, Errno::Reset),
            (Os::HOSTUNREACH, Errno::Aborted, Errno::Reset),
            (Os::CONNRESET, Errno::Other(104), Errno::Reset),
            (Os::TIMEDOUT, Errno::Other(110), Errno::Reset),
            (Os::PIPE, Errno::Other(32), Errno::Pipe),
            (Os::BADF, Errno::Other(9), Errno::Other(9)),
        ] {
            assert_eq!((of_accept(os), of_socket(os)), (accept, socket), "{os:?}");
        }
    }
}
