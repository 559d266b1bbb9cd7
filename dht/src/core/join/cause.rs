//! Why a way into the swarm did not lead there, and which of many causes is told.
//!
//! A black hole is a family whose packets vanish: its dials time out while the other family gets
//! answers. That can only be told from many dials together, so it is found here and not by
//! whoever dials.

use super::address::Family;

/// Dials of a family that timed out without any answer before it counts as a black hole: one may
/// be one dead machine.
const BLACK_HOLE_MIN: u32 = 2;

/// Why an attempt failed. The order is that of telling: of several causes in one round the first
/// is the one that a person should hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// A certificate or message was refused for its time.
    #[error("the clock is off: set this machine's time")]
    ClockOff,
    /// The other side, or this one, showed no valid certificate for the private swarm.
    #[error("not a member of this swarm: ask for an invite and run `shoal join`")]
    NotMember,
    /// The machine answered, but not as the expected peer or in the expected protocol.
    #[error("the handshake was refused: another node or another version is at that address")]
    HandshakeRefused,
    /// The machine is there, the port is closed.
    #[error("the connection was refused: nothing listens at that address")]
    Refused,
    /// IPv6 packets vanish while IPv4 works.
    #[error("IPv6 leads nowhere on this network: IPv4 is used instead")]
    BlackHoledIpv6,
    /// The operating system has no route.
    #[error("the network is unreachable: is this machine online?")]
    Unreachable,
    /// No answer.
    #[error("no answer in time: a firewall may drop packets, or the node is gone")]
    TimedOut,
    /// Names did not resolve, or the way has no usable address.
    #[error("no address: the name did not resolve, check the DNS")]
    NoAddress,
    /// The search worked and found nobody.
    #[error("no peers found this way")]
    NoPeersFound,
}

impl Cause {
    /// Whether a machine at the other end said so: packets come and go.
    fn is_answer(self) -> bool {
        matches!(
            self,
            Self::ClockOff | Self::NotMember | Self::HandshakeRefused | Self::Refused
        )
    }
}

/// What one round of one way met.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    told: Option<Cause>,
    timed_out_v4: bool,
    timed_out_v6: bool,
}

impl Tally {
    /// Takes a failure of the search.
    pub(super) fn on_search(&mut self, cause: Cause) {
        self.told = Some(self.told.map_or(cause, |told| told.min(cause)));
    }

    /// Takes a failed dial.
    pub(super) fn on_dial(&mut self, family: Family, cause: Cause) {
        self.on_search(cause);
        if cause == Cause::TimedOut {
            match family {
                Family::V4 => self.timed_out_v4 = true,
                Family::V6 => self.timed_out_v6 = true,
            }
        }
    }

    /// The cause to tell of the round; a round without any found nobody.
    pub(super) fn cause(&self, families: &Families) -> Cause {
        let told = self.told.unwrap_or(Cause::NoPeersFound);
        let only_v6 = self.timed_out_v6 && !self.timed_out_v4;
        if told == Cause::TimedOut && only_v6 && families.is_ipv6_black_holed() {
            return Cause::BlackHoledIpv6;
        }
        told
    }
}

/// What the two families did on this network.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Families {
    answered_v4: bool,
    answered_v6: bool,
    /// Dials over IPv6 that timed out.
    lost_v6: u32,
}

impl Families {
    /// Takes a dial's end.
    pub(super) fn on_dial(&mut self, family: Family, failure: Option<Cause>) {
        let answered = failure.is_none_or(Cause::is_answer);
        match family {
            Family::V4 => self.answered_v4 |= answered,
            Family::V6 => {
                self.answered_v6 |= answered;
                let lost = failure == Some(Cause::TimedOut);
                self.lost_v6 = self.lost_v6.saturating_add(u32::from(lost));
            }
        }
    }

    /// IPv4 gets answers, IPv6 only silence.
    pub(super) fn is_ipv6_black_holed(&self) -> bool {
        self.answered_v4 && !self.answered_v6 && self.lost_v6 >= BLACK_HOLE_MIN
    }

    /// The family to begin with: IPv6 as RFC 8305 asks, unless it leads nowhere.
    pub(super) fn first(&self) -> Family {
        if self.is_ipv6_black_holed() {
            Family::V4
        } else {
            Family::V6
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_black_hole_needs_answers_elsewhere() {
        let mut families = Families::default();
        let mut tally = Tally::default();
        for _ in 0..3 {
            families.on_dial(Family::V6, Some(Cause::TimedOut));
            tally.on_dial(Family::V6, Cause::TimedOut);
        }
        assert_eq!(tally.cause(&families), Cause::TimedOut);
        families.on_dial(Family::V4, Some(Cause::Refused));
        assert_eq!(tally.cause(&families), Cause::BlackHoledIpv6);
        assert_eq!(families.first(), Family::V4);
        families.on_dial(Family::V6, None);
        assert_eq!(families.first(), Family::V6);
    }

    #[test]
    fn the_most_telling_cause_is_told() {
        let mut tally = Tally::default();
        assert_eq!(tally.cause(&Families::default()), Cause::NoPeersFound);
        tally.on_search(Cause::NoAddress);
        tally.on_dial(Family::V4, Cause::TimedOut);
        tally.on_dial(Family::V4, Cause::NotMember);
        tally.on_dial(Family::V4, Cause::Refused);
        assert_eq!(tally.cause(&Families::default()), Cause::NotMember);
    }
}
