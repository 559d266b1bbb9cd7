//! Swarms in files: what is made reads back, damage is said and never panics, every fault is one
//! line that says what to do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootstrap::memberships::{
    Admitted, CERTIFICATE_LIFETIME, InviteWish, Joined, May, Membership, Memberships, SwarmError,
    SwarmFiles, roll,
};
use dht::admission;
use dht::core::membership::{Credential, Desk, DeskStep, ListError, NotMember, Written};
use dht::network::Meeting;
use node::config::{Secret, SwarmConfig};
use node::data_dir::Layout;
use node::identity::Identity;
use node::swarm::SwarmSetup;
use proptest::prelude::*;
use protocol::membership::{Chain, ChainFault, RefusalCode, Role};
use protocol::names::SwarmName;
use protocol::{NodeId, Sequence, UnixMillis};
use tempfile::TempDir;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// One machine.
struct Machine {
    dir: TempDir,
    identity: Identity,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(&dir.path().join("identity.key")).unwrap();
        Self { dir, identity }
    }

    fn layout(&self) -> Layout {
        Layout::new(self.dir.path())
    }

    fn memberships(&self) -> Memberships {
        Memberships::new(self.layout().swarms())
    }

    fn id(&self) -> NodeId {
        self.identity.id()
    }

    fn files(&self) -> SwarmFiles {
        self.memberships().find(None).unwrap()
    }

    fn load(&self, now: UnixMillis) -> Result<Membership, SwarmError> {
        Membership::load(self.files(), &self.identity, now)
    }

    fn owner() -> Self {
        let machine = Self::new();
        let name = "lab".parse().unwrap();
        let created = machine.memberships().create(&name, machine.id(), None, NOW);
        created.unwrap();
        machine
    }

    fn token(&self, uses: u32) -> String {
        let wish = InviteWish {
            role: Role::Member,
            uses,
            lifetime: DAY,
            bootstrap: vec![BOOTSTRAP.parse().unwrap()],
        };
        let token = self
            .memberships()
            .invite(&self.files(), &self.identity, &wish, NOW);
        token.unwrap().to_string()
    }

    fn join(&self, proof: &str, now: UnixMillis) -> Result<Joined, SwarmError> {
        self.memberships().join(&proof.parse()?, self.id(), now)
    }

    fn pass_for(&self, peer: NodeId, now: UnixMillis) -> String {
        let to = (peer, Role::Member);
        let pass = self
            .memberships()
            .certify(&self.files(), &self.identity, to, now);
        pass.unwrap().to_string()
    }

    fn setup(&self, config: &SwarmConfig, now: UnixMillis) -> Result<SwarmSetup, SwarmError> {
        SwarmSetup::prepare(config, &self.layout(), &self.identity, now)
    }
}

const BOOTSTRAP: &str =
    "/ip4/192.0.2.1/udp/4001/quic-v1/p2p/12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV";

fn later(by: Duration) -> UnixMillis {
    NOW.saturating_add(by)
}

/// Redeems the machine's pending invite at the other one, as the network does.
fn redeem(at: &Machine, by: &Machine, now: UnixMillis) -> Result<(), RefusalCode> {
    let joining = by.load(now).unwrap();
    let Some(Credential::Invite(invite)) = joining.credential() else {
        panic!("an invite");
    };
    let there = at.load(now).unwrap();
    let checked = there.roster.check_invite(&invite, by.id(), now).unwrap();
    let redeemer = there.redeemer.unwrap();
    let delegation = redeemer.issuer.delegation().cloned();
    let mut desk = Desk::new(redeemer.ledger.clone(), redeemer.lifetime, delegation);
    assert!(desk.redeem(0, by.id(), Box::new(checked)));
    let entry = match desk.step(now).unwrap() {
        DeskStep::Write(entry) => entry,
        DeskStep::Refuse(_, code) => return Err(code),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(async { redeemer.store.keep(entry).await })
        .unwrap();
    let Some(Written::Granted(_, grant)) = desk.on_written(true) else {
        panic!("a grant");
    };
    let granted = admission::sign(&redeemer.issuer, &grant).unwrap();
    by.files().keep_granted(granted, by.id(), now).unwrap();
    Ok(())
}

fn assert_one_line(error: &SwarmError, words: &[&str]) {
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` in: {text}");
    }
}

#[test]
fn a_swarm_is_made_whole_and_its_root_key_is_private() {
    let owner = Machine::owner();
    let membership = owner.load(NOW).unwrap();
    assert!(matches!(
        membership.credential(),
        Some(Credential::Certificate(_))
    ));
    let redeemer = membership.redeemer.unwrap();
    assert_eq!(redeemer.issuer.id(), membership.swarm.root);
    let path = owner.files().root_key_path();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = fs::read_to_string(&path).unwrap();
    assert!(!format!("{redeemer:?}").contains(secret.trim()));

    let name = "lab".parse().unwrap();
    let again = owner.memberships().create(&name, owner.id(), None, NOW);
    assert_one_line(&again.unwrap_err(), &["knows a swarm `lab`", "leave"]);
    let public = SwarmName::public();
    let public = owner.memberships().create(&public, owner.id(), None, NOW);
    assert!(matches!(public, Err(SwarmError::PublicName)));
}

#[test]
fn a_copy_of_the_root_key_brings_the_swarm_back() {
    let owner = Machine::owner();
    let token = owner.token(1);
    let machine = Machine::new();
    let name = "lab".parse().unwrap();
    let copy = owner.files().root_key_path();
    let memberships = machine.memberships();
    let back = memberships.create(&name, machine.id(), Some(&copy), NOW);
    assert_eq!(back.unwrap().files.swarm(), owner.files().swarm());
    let member = Machine::new();
    member.join(&token, NOW).unwrap();
    redeem(&machine, &member, NOW).unwrap();

    let absent = machine.dir.path().join("nothing");
    let other = "lab2".parse().unwrap();
    let none = memberships.create(&other, machine.id(), Some(&absent), NOW);
    assert_one_line(&none.unwrap_err(), &["nothing holds no key"]);
    assert_eq!(memberships.names().unwrap(), [name], "nothing half made");
}

#[test]
fn an_invite_is_kept_redeemed_and_counted_over_a_restart() {
    let (owner, first, second) = (Machine::owner(), Machine::new(), Machine::new());
    let token = owner.token(1);
    let joined = first.join(&token, NOW).unwrap();
    assert!(!joined.is_member);
    assert_eq!(joined.bootstrap[0].to_string(), BOOTSTRAP);
    redeem(&owner, &first, NOW).unwrap();
    let membership = first.load(NOW).unwrap();
    assert!(membership.invite.is_none() && membership.redeemer.is_none());
    assert_eq!(membership.remaining(NOW), Some(CERTIFICATE_LIFETIME));

    second.join(&token, NOW).unwrap();
    let refused = redeem(&owner, &second, NOW).unwrap_err();
    assert_eq!(refused, RefusalCode::UsedUp);
    // The first one's disk was lost: it has the same certificate again.
    first.join(&token, NOW).unwrap();
    fs::remove_file(first.files().folder().join("pass")).unwrap();
    redeem(&owner, &first, later(DAY / 2)).unwrap();
    assert_eq!(
        first.load(NOW).unwrap().remaining(NOW),
        Some(CERTIFICATE_LIFETIME)
    );

    let roll = roll(&owner.files(), NOW).unwrap();
    let entry = |peer| roll.iter().find(|entry| entry.peer == peer);
    let by_invite = entry(first.id()).unwrap();
    assert!(
        matches!(by_invite.admitted, Admitted::Invite(_)),
        "{by_invite:?}"
    );
    assert_eq!(entry(owner.id()).unwrap().admitted, Admitted::ByHand);
    assert_eq!(entry(second.id()), None);
}

#[test]
fn a_revoked_member_learns_it_and_comes_back_by_a_new_signature_only() {
    let (owner, member) = (Machine::owner(), Machine::new());
    member.join(&owner.pass_for(member.id(), NOW), NOW).unwrap();
    let token = owner.token(5);
    let after = later(DAY / 4);
    let memberships = owner.memberships();
    let revoke = |peer| memberships.revoke(&owner.files(), &owner.identity, peer, after);
    assert_eq!(revoke(member.id()).unwrap().peers, 1);
    let again = revoke(Machine::new().id()).unwrap();
    assert_eq!((again.peers, again.list), (2, Sequence(after.0 + 1)));

    // The list reaches the member.
    let lists = owner.load(after).unwrap();
    let (issuer, _, list) = lists.roster.lists().next().unwrap();
    member.files().save_list(issuer, list).unwrap();
    let error = member.load(after).unwrap_err();
    assert!(error.is_not_member());
    assert_one_line(&error, &["revoked", "shoal swarm renew"]);
    let error = member.join(&token, after).unwrap_err();
    assert_one_line(&error, &["revoked", "take it back in"]);
    let roll = roll(&owner.files(), after).unwrap();
    let entry = roll.iter().find(|entry| entry.peer == member.id()).unwrap();
    assert_eq!(entry.revoked, Some(after));

    let back = later(DAY / 2);
    member
        .join(&owner.pass_for(member.id(), back), back)
        .unwrap();
    assert!(member.load(back).is_ok());
}

#[test]
fn a_delegate_admits_within_its_rights_and_no_further() {
    let (owner, server, member) = (Machine::owner(), Machine::new(), Machine::new());
    let may = May {
        admit_members: false,
        admit_clients: true,
        revoke: false,
    };
    let to = (server.id(), may);
    let pass = owner
        .memberships()
        .delegate(&owner.files(), &owner.identity, to, NOW);
    server.join(&pass.unwrap().to_string(), NOW).unwrap();
    member.join(&owner.token(1), NOW).unwrap();
    let refused = redeem(&server, &member, NOW).unwrap_err();
    assert_eq!(refused, RefusalCode::CannotRedeem);
    let memberships = server.memberships();
    let wish = |role| InviteWish {
        role,
        uses: 1,
        lifetime: DAY,
        bootstrap: Vec::new(),
    };
    let invite = |role| memberships.invite(&server.files(), &server.identity, &wish(role), NOW);
    let error = invite(Role::Member).unwrap_err();
    assert_one_line(&error, &["may not invite", "shoal swarm delegate"]);
    let client = Machine::new();
    client
        .join(&invite(Role::Client).unwrap().to_string(), NOW)
        .unwrap();
    redeem(&server, &client, NOW).unwrap();
    let role = client.load(NOW).unwrap().certificate.unwrap().member.role;
    assert_eq!(role, Role::Client);
    let revoke = memberships.revoke(&server.files(), &server.identity, client.id(), NOW);
    assert_one_line(&revoke.unwrap_err(), &["may not revoke"]);
    let delegate = memberships.delegate(&server.files(), &server.identity, to, NOW);
    assert_one_line(&delegate.unwrap_err(), &["may not delegate"]);
}

#[test]
fn time_is_said_in_words() {
    let (owner, member) = (Machine::owner(), Machine::new());
    // The issuer's clock is a day ahead, or this one a day behind.
    let error = member.join(&owner.pass_for(member.id(), later(DAY)), NOW);
    assert_one_line(&error.unwrap_err(), &["24 hours", "clock"]);
    let error = member.join(&owner.token(1), later(DAY * 3)).unwrap_err();
    assert_one_line(&error, &["expired 2 days ago", "clock"]);
    member.join(&owner.pass_for(member.id(), NOW), NOW).unwrap();
    let end = CERTIFICATE_LIFETIME;
    assert!(!member.load(NOW).unwrap().ends_soon(NOW));
    let soon = later(end - DAY);
    assert!(member.load(soon).unwrap().ends_soon(soon));
    let error = member.load(later(end + DAY * 2)).unwrap_err();
    assert!(error.is_not_member());
    assert_one_line(&error, &["expired 2 days ago", "shoal join TOKEN"]);
    // Where the root key is, the certificate is renewed.
    for past in [end - DAY, end * 3] {
        let owner = owner.load(later(past)).unwrap();
        assert_eq!(owner.remaining(later(past)), Some(CERTIFICATE_LIFETIME));
    }
}

#[test]
fn wrong_keys_and_wrong_swarms_are_named() {
    let (owner, other, member) = (Machine::owner(), Machine::owner(), Machine::new());
    let error = member
        .join(&owner.pass_for(owner.id(), NOW), NOW)
        .unwrap_err();
    assert_one_line(&error, &["not this peer's", "identity.key"]);
    assert_eq!(member.memberships().names().unwrap(), [], "nothing is kept");
    member.join(&owner.token(1), NOW).unwrap();
    let error = member.join(&other.token(1), NOW).unwrap_err();
    assert_one_line(&error, &["knows a swarm `lab`"]);
    let lab2: SwarmName = "lab2".parse().unwrap();
    let error = member.memberships().find(Some(&lab2)).unwrap_err();
    assert_one_line(&error, &["no swarm `lab2`", "(lab)", "shoal join TOKEN"]);
    assert!(error.is_usage());
    let error = Machine::new().memberships().find(None).unwrap_err();
    assert_one_line(&error, &["shoal swarm create"]);
    owner
        .memberships()
        .create(&lab2, owner.id(), None, NOW)
        .unwrap();
    let error = owner.memberships().find(None).unwrap_err();
    assert_one_line(&error, &["lab, lab2", "--swarm"]);

    let path = other.files().root_key_path();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_one_line(&other.load(NOW).unwrap_err(), &["chmod 600", "root.key"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(other.dir.path().join("identity.key"), &path).unwrap();
    assert_one_line(
        &other.load(NOW).unwrap_err(),
        &["root key of `lab`", "backup"],
    );
    let kept = other.memberships().leave(&other.files(), false);
    assert_one_line(&kept.unwrap_err(), &["root.key", "--forget-root-key"]);
    other.memberships().leave(&other.files(), true).unwrap();
    assert_eq!(other.memberships().names().unwrap(), []);
}

#[test]
fn the_setup_follows_the_configuration() {
    let (owner, member) = (Machine::owner(), Machine::new());
    let mut config = SwarmConfig::default();
    let public = member.setup(&config, NOW).unwrap();
    assert_eq!(public.name, SwarmName::public());
    assert!(public.membership.is_none());
    assert_eq!(public.meeting, Meeting::PublicDht);

    config.rendezvous_servers = Some(vec![BOOTSTRAP.parse().unwrap()]);
    let meeting = |config: &SwarmConfig| member.setup(config, NOW).unwrap().meeting;
    assert_eq!(meeting(&config), Meeting::At(vec![BOOTSTRAP.to_owned()]));
    config.rendezvous = false;
    assert_eq!(meeting(&config), Meeting::Nowhere);
    config.rendezvous = true;

    config.join = Some(Secret::new(owner.token(1)));
    let private = member.setup(&config, NOW).unwrap();
    assert_eq!(private.name.to_string(), "lab");
    assert_eq!(private.bootstrap[0].to_string(), BOOTSTRAP);
    assert_eq!(private.meeting, Meeting::Nowhere, "it shows nowhere");
    redeem(&owner, &member, NOW).unwrap();
    // The token expired since, and is no matter any more.
    let after = later(DAY * 2);
    let setup = member.setup(&config, after).unwrap();
    assert!(setup.membership.unwrap().certificate.is_some());
    let error = Machine::new().setup(&config, after).unwrap_err();
    assert!(error.is_not_member());
    assert_one_line(&error, &["`join` of the configuration", "expired"]);

    config = SwarmConfig {
        name: Some(SwarmName::public()),
        bootstrap: Some(Vec::new()),
        rendezvous_servers: Some(Vec::new()),
        ..SwarmConfig::default()
    };
    let setup = member.setup(&config, after).unwrap();
    assert!(setup.membership.is_none());
    assert_eq!(setup.meeting, Meeting::Nowhere, "no server, no rendezvous");
    config.name = None;
    assert!(member.setup(&config, after).unwrap().bootstrap.is_empty());
    config.join_file = Some(member.dir.path().join("gone"));
    let error = member.setup(&config, after).unwrap_err();
    assert_one_line(&error, &["`join_file`", "gone"]);
}

#[test]
fn a_crash_in_the_middle_leaves_no_half_swarm() {
    let owner = Machine::owner();
    let begun = owner.layout().swarms().join(".lab2.1.new");
    fs::create_dir_all(&begun).unwrap();
    fs::write(begun.join("root.key"), "half").unwrap();
    fs::write(owner.files().folder().join(".pass.1.new"), "half").unwrap();
    assert_eq!(owner.memberships().names().unwrap().len(), 1);
    owner.token(1);
    let member = Machine::new().id();
    owner.pass_for(member, NOW);
    assert!(!begun.exists(), "the leftover is cleared");
    assert!(owner.load(NOW).is_ok());
}

#[test]
fn a_forged_list_of_revocations_is_not_believed() {
    let (owner, other) = (Machine::owner(), Machine::owner());
    let victim = owner.id();
    let memberships = other.memberships();
    memberships
        .revoke(&other.files(), &other.identity, victim, NOW)
        .unwrap();
    let (_, list): (_, Chain<_>) = other.files().lists().unwrap().remove(0);
    owner
        .files()
        .save_list(owner.files().swarm().root, &list)
        .unwrap();
    let error = owner.load(NOW).unwrap_err();
    assert_one_line(&error, &["list of revocations", "of another swarm"]);
    let SwarmError::List { cause, .. } = error else {
        panic!("of a list");
    };
    let ListError::NotBelieved(NotMember::Chain(error)) = cause else {
        panic!("of its chain");
    };
    assert!(matches!(error.fault, ChainFault::WrongSwarm(_)));
}

/// An owner with every kind of file.
fn furnished() -> Machine {
    let (owner, member) = (Machine::owner(), Machine::new());
    member.join(&owner.token(2), NOW).unwrap();
    redeem(&owner, &member, NOW).unwrap();
    let memberships = owner.memberships();
    memberships
        .revoke(&owner.files(), &owner.identity, member.id(), NOW)
        .unwrap();
    owner.join(&owner.token(1), NOW).unwrap();
    owner
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(all_files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a file holds after a bad disk: it loads, or one line names what is wrong.
    #[test]
    fn damaged_files_are_said(
        which: prop::sample::Index,
        at: prop::sample::Index,
        with: Vec<u8>,
        cut: bool,
    ) {
        let owner = furnished();
        let files = all_files(owner.files().folder());
        prop_assert!(files.len() >= 8, "{files:?}");
        let path = which.get(&files);
        let mut bytes = fs::read(path).unwrap();
        let at = at.index(bytes.len() + 1);
        match cut {
            true => bytes.truncate(at),
            false => drop(bytes.splice(at.., with)),
        }
        fs::write(path, bytes).unwrap();
        let memberships = owner.memberships();
        let loaded = memberships
            .find(None)
            .and_then(|files| Membership::load(files, &owner.identity, NOW));
        let seen = memberships.find(None).and_then(|files| roll(&files, NOW));
        for error in [loaded.err(), seen.err()].into_iter().flatten() {
            assert_one_line(&error, &[]);
        }
    }
}
