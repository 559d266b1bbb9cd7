//! The admission handshake, both sides: mutual proof of membership before any other protocol.
//!
//! ```text
//! dialer                                        listener
//!   Hello { nonce_d, tag("dialer hello") }    →   wrong tag: nothing, disconnect
//!                                             ←   Hello { nonce_l, tag("listener hello") }
//!   Proof { certificate, tag("proof") }       →   no member: Refused { code, clock }
//!   or Redeem { invite, tag("redeem") }       ←   Welcome { certificate, granted? }
//! ```
//! A tag is a hash keyed with the swarm's root and name over the step, both node ids and the
//! nonces, so one of another step, pair of peers or handshake is worth nothing. The root's key
//! is known to whoever holds a certificate or an invite, and to nobody else:
//! - a stranger that dials sees a connection closed. It learns neither swarm nor certificate;
//! - a stranger that is dialled sees random bytes: the dialer shows its certificate or its
//!   invite only to a peer that proved to know the swarm;
//! - who knows the root but is no member (it was put out, its certificate expired) learns that
//!   the listener is of the swarm, which it knew, and why it is refused.
//!
//! The tags only hide; certificates decide. That the other end holds the key of its node id, and
//! that nobody reads or changes the stream, is the transport's (TLS or Noise, end to end).
//!
//! Transitions, dialer: awaits Hello → awaits Welcome → done. Listener: awaits Hello → awaits
//! Proof or Redeem → (redeeming →) done. Anything out of order, unreadable or untrue: done, with
//! [`Output::Failed`], and every later message is ignored. The machine neither signs nor counts:
//! [`Output::Redeem`] asks its owner, who answers with [`Admission::grant`] or
//! [`Admission::refuse`].

mod failure;
mod transcript;

use std::time::Duration;

use protocol::{
    NodeId, UnixMillis,
    membership::{
        AdmissionMessage, Chain, Invite, Issued, NONCE_BYTES, RefusalCode, TAG_BYTES, wire,
    },
};

use super::roster::{Member, Roster};

pub use failure::{AdmissionFailure, ClockGap};
use transcript::{Nonces, Step, Transcript};

/// How long a handshake may take: two round trips over the slowest path that is of any use, and a
/// bootstrap node's disk. Its owner keeps the timer, and then drops the connection.
pub const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);

/// In the first tag, before the listener said its own.
const NO_NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];

type CertificateChain = Chain<wire::MembershipCertificate>;

/// The two ends of the connection, as the transport authenticated them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// This node.
    pub local: NodeId,
    /// The other one.
    pub remote: NodeId,
}

/// What a dialer has to show.
#[derive(Debug, Clone, PartialEq)]
pub enum Credential {
    /// It is a member.
    Certificate(CertificateChain),
    /// It wants to become one.
    Invite(Chain<wire::Invite>),
}

/// What the owner of a handshake does, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this message, as one frame.
    Send(Vec<u8>),
    /// Ask the ledger, sign, and answer.
    Redeem(Box<Issued<Invite>>),
    /// Keep this node's new certificate.
    Granted(Box<CertificateChain>),
    /// The other end is a member: open the gate. The handshake is done.
    Admitted(Member),
    /// Disconnect, once what was to be sent is sent. The handshake is done.
    Failed(AdmissionFailure),
}

/// One handshake on one stream.
#[derive(Debug)]
pub struct Admission {
    ends: Ends,
    is_dialer: bool,
    transcript: Transcript,
    nonce: [u8; NONCE_BYTES],
    state: State,
}

#[derive(Debug)]
enum State {
    /// Dialer; with what it will show.
    AwaitHello(Credential),
    /// Dialer; whether a certificate is to come.
    AwaitWelcome {
        redeems: bool,
    },
    /// Listener; with its own certificate.
    AwaitDialer(CertificateChain),
    /// Listener; with the dialer's nonce.
    AwaitProof(CertificateChain, [u8; NONCE_BYTES]),
    /// Listener; its owner signs.
    Redeeming(CertificateChain),
    Done,
}

impl Admission {
    /// The dialer's side, and the first message to send. `nonce` is fresh and random.
    pub fn dial(
        ends: Ends,
        roster: &Roster,
        credential: Credential,
        nonce: [u8; NONCE_BYTES],
    ) -> (Self, Vec<u8>) {
        let state = State::AwaitHello(credential);
        let admission = Self::new(ends, roster, nonce, state);
        let nonces = admission.nonces(NO_NONCE);
        let tag = admission.transcript.tag(Step::DialerHello, &nonces);
        let hello = AdmissionMessage::Hello { nonce, tag };
        (admission, hello.encode())
    }

    /// The listener's side, with this node's own certificate. `nonce` is fresh and random.
    pub fn listen(
        ends: Ends,
        roster: &Roster,
        certificate: CertificateChain,
        nonce: [u8; NONCE_BYTES],
    ) -> Self {
        Self::new(ends, roster, nonce, State::AwaitDialer(certificate))
    }

    fn new(ends: Ends, roster: &Roster, nonce: [u8; NONCE_BYTES], state: State) -> Self {
        let is_dialer = matches!(state, State::AwaitHello(_));
        let (dialer, listener) = if is_dialer {
            (ends.local, ends.remote)
        } else {
            (ends.remote, ends.local)
        };
        Self {
            ends,
            is_dialer,
            transcript: Transcript::new(roster.swarm(), dialer, listener),
            nonce,
            state,
        }
    }

    /// Whether nothing more is to come.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the other end's next message.
    pub fn handle(&mut self, message: &[u8], roster: &Roster, now: UnixMillis) -> Vec<Output> {
        if self.is_done() {
            return Vec::new();
        }
        let state = std::mem::replace(&mut self.state, State::Done);
        let result = AdmissionMessage::decode(message)
            .map_err(AdmissionFailure::Message)
            .and_then(|message| self.step(state, message, roster, now));
        result.unwrap_or_else(|failure| vec![Output::Failed(failure)])
    }

    /// Takes note that the stream or the connection ended.
    pub fn on_closed(&mut self) -> Vec<Output> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Done => Vec::new(),
            _ => vec![Output::Failed(AdmissionFailure::Closed)],
        }
    }

    /// Answers [`Output::Redeem`] with the dialer's new certificate.
    pub fn grant(
        &mut self,
        granted: CertificateChain,
        roster: &Roster,
        now: UnixMillis,
    ) -> Vec<Output> {
        let State::Redeeming(certificate) = std::mem::replace(&mut self.state, State::Done) else {
            return Vec::new();
        };
        match roster.check_certificate(&granted, self.ends.remote, now) {
            Ok(member) => welcome(certificate, Some(granted), member),
            Err(error) => refused(error.refusal_code(), AdmissionFailure::Grant(error), now),
        }
    }

    /// Answers [`Output::Redeem`] with a refusal.
    pub fn refuse(&mut self, code: RefusalCode, now: UnixMillis) -> Vec<Output> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Redeeming(_) => refused(code, AdmissionFailure::NotRedeemed, now),
            _ => Vec::new(),
        }
    }

    fn step(
        &mut self,
        state: State,
        message: AdmissionMessage,
        roster: &Roster,
        now: UnixMillis,
    ) -> Result<Vec<Output>, AdmissionFailure> {
        use AdmissionMessage as M;
        match (state, message) {
            (State::AwaitHello(credential), M::Hello { nonce, tag }) => {
                self.on_listener_hello(credential, nonce, tag)
            }
            (State::AwaitDialer(certificate), M::Hello { nonce, tag }) => {
                self.on_dialer_hello(certificate, nonce, tag)
            }
            (State::AwaitProof(own, nonce), M::Proof { certificate, tag }) => {
                self.check(tag, Step::Proof, &self.nonces(nonce))?;
                Ok(self.on_proof(own, &certificate, roster, now))
            }
            (State::AwaitProof(own, nonce), M::Redeem { invite, tag }) => {
                self.check(tag, Step::Redeem, &self.nonces(nonce))?;
                Ok(self.on_redeem(own, &invite, roster, now))
            }
            (
                State::AwaitWelcome { redeems },
                M::Welcome {
                    certificate,
                    granted,
                },
            ) => {
                let granted = granted.filter(|_| redeems);
                if redeems && granted.is_none() {
                    return Err(AdmissionFailure::NothingGranted);
                }
                self.on_welcome(&certificate, granted, roster, now)
            }
            (State::AwaitWelcome { .. }, M::Refused { code, now: theirs }) => {
                Err(AdmissionFailure::Refused {
                    code,
                    clock: ClockGap::between(now, theirs),
                })
            }
            _ => Err(AdmissionFailure::OutOfOrder),
        }
    }

    fn on_dialer_hello(
        &mut self,
        certificate: CertificateChain,
        nonce: [u8; NONCE_BYTES],
        tag: [u8; TAG_BYTES],
    ) -> Result<Vec<Output>, AdmissionFailure> {
        let first = Nonces {
            dialer: nonce,
            listener: NO_NONCE,
        };
        self.check(tag, Step::DialerHello, &first)?;
        let tag = self
            .transcript
            .tag(Step::ListenerHello, &self.nonces(nonce));
        self.state = State::AwaitProof(certificate, nonce);
        Ok(vec![send(&AdmissionMessage::Hello {
            nonce: self.nonce,
            tag,
        })])
    }

    fn on_listener_hello(
        &mut self,
        credential: Credential,
        nonce: [u8; NONCE_BYTES],
        tag: [u8; TAG_BYTES],
    ) -> Result<Vec<Output>, AdmissionFailure> {
        let nonces = self.nonces(nonce);
        self.check(tag, Step::ListenerHello, &nonces)?;
        let redeems = matches!(credential, Credential::Invite(_));
        self.state = State::AwaitWelcome { redeems };
        let tag = |step| self.transcript.tag(step, &nonces);
        Ok(vec![send(&match credential {
            Credential::Certificate(certificate) => AdmissionMessage::Proof {
                certificate,
                tag: tag(Step::Proof),
            },
            Credential::Invite(invite) => AdmissionMessage::Redeem {
                invite,
                tag: tag(Step::Redeem),
            },
        })])
    }

    fn on_proof(
        &self,
        own: CertificateChain,
        certificate: &CertificateChain,
        roster: &Roster,
        now: UnixMillis,
    ) -> Vec<Output> {
        match roster.check_certificate(certificate, self.ends.remote, now) {
            Ok(member) => welcome(own, None, member),
            Err(error) => refused(
                error.refusal_code(),
                AdmissionFailure::NotMember(error),
                now,
            ),
        }
    }

    fn on_redeem(
        &mut self,
        own: CertificateChain,
        invite: &Chain<wire::Invite>,
        roster: &Roster,
        now: UnixMillis,
    ) -> Vec<Output> {
        match roster.check_invite(invite, self.ends.remote, now) {
            Ok(invite) => {
                self.state = State::Redeeming(own);
                vec![Output::Redeem(Box::new(invite))]
            }
            Err(error) => refused(
                error.refusal_code(),
                AdmissionFailure::NotMember(error),
                now,
            ),
        }
    }

    fn on_welcome(
        &self,
        certificate: &CertificateChain,
        granted: Option<CertificateChain>,
        roster: &Roster,
        now: UnixMillis,
    ) -> Result<Vec<Output>, AdmissionFailure> {
        let member = roster
            .check_certificate(certificate, self.ends.remote, now)
            .map_err(AdmissionFailure::NotMember)?;
        let mut outputs = Vec::new();
        if let Some(granted) = granted {
            roster
                .check_certificate(&granted, self.ends.local, now)
                .map_err(AdmissionFailure::Grant)?;
            outputs.push(Output::Granted(Box::new(granted)));
        }
        outputs.push(Output::Admitted(member));
        Ok(outputs)
    }

    /// The nonces so far; the other end's are zeroes before it said any.
    fn nonces(&self, theirs: [u8; NONCE_BYTES]) -> Nonces {
        let (dialer, listener) = if self.is_dialer {
            (self.nonce, theirs)
        } else {
            (theirs, self.nonce)
        };
        Nonces { dialer, listener }
    }

    fn check(
        &self,
        tag: [u8; TAG_BYTES],
        step: Step,
        nonces: &Nonces,
    ) -> Result<(), AdmissionFailure> {
        if self.transcript.is_tag(tag, step, nonces) {
            Ok(())
        } else {
            Err(AdmissionFailure::Stranger)
        }
    }
}

fn send(message: &AdmissionMessage) -> Output {
    Output::Send(message.encode())
}

fn welcome(
    certificate: CertificateChain,
    granted: Option<CertificateChain>,
    member: Member,
) -> Vec<Output> {
    let welcome = AdmissionMessage::Welcome {
        certificate,
        granted,
    };
    vec![send(&welcome), Output::Admitted(member)]
}

fn refused(code: RefusalCode, failure: AdmissionFailure, now: UnixMillis) -> Vec<Output> {
    let refused = AdmissionMessage::Refused { code, now };
    vec![send(&refused), Output::Failed(failure)]
}

#[cfg(test)]
mod tests;
