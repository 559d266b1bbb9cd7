//! Private swarms from the command line, without any network: made, invited to, joined, put out;
//! and what a person is told who does it wrong.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use super::node::{Node, run, shoal, text};

/// Where everybody would begin, in a token.
const ADDRESS: &str =
    "/ip4/192.0.2.1/udp/4001/quic-v1/p2p/12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV";

/// What a command says on stdout when it succeeds.
fn told(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The one line of a command that fails.
fn refused(output: &Output, code: i32) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("shoal: "), "{said}");
    said
}

/// The value of a line of `shoal swarm status`.
fn status(dir: &Path, what: &str) -> String {
    let shown = told(dir, &["swarm", "status"]);
    let line = shown.lines().find_map(|line| line.strip_prefix(what));
    line.unwrap_or_else(|| panic!("{shown}")).trim().to_owned()
}

#[test]
fn a_swarm_is_made_invited_to_and_joined() {
    let (owner, guest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (owner, guest) = (owner.path(), guest.path());
    let made = told(owner, &["swarm", "create", "lab"]);
    assert!(
        made.contains("root.key") && made.contains("shoal swarm invite"),
        "{made}"
    );
    let secret = std::fs::read_to_string(owner.join("data/swarms/lab/root.key")).unwrap();
    assert!(!made.contains(secret.trim()));
    assert_eq!(status(owner, "certificate"), "member for 364 days");
    assert_eq!(
        status(owner, "may sign"),
        "everything (the root key is here)"
    );

    let args = ["swarm", "invite", "--uses", "3", "--expires", "12h"];
    let invite = run(owner, &[&args[..], &["--bootstrap", ADDRESS]].concat());
    assert!(invite.stderr.is_empty(), "{}", text(&invite.stderr));
    let token = text(&invite.stdout);
    assert!(
        token.starts_with("shoal1_") && token.lines().count() == 1,
        "{token}"
    );
    let lonely = run(owner, &["swarm", "invite", "--role", "client"]);
    assert!(text(&lonely.stderr).contains("local network"));
    assert_eq!(text(&lonely.stdout).lines().count(), 1, "the token alone");

    let joined = told(guest, &["join", token.trim()]);
    assert!(joined.contains("invited to `lab` as a member"), "{joined}");
    assert!(joined.contains("shoal up"), "{joined}");
    assert_eq!(status(guest, "bootstrap"), ADDRESS);
    assert_eq!(status(guest, "invite"), "to be redeemed when the node runs");
    let none = run(guest, &["swarm", "invite"]);
    assert!(refused(&none, 1).contains("may not invite"));
}

#[test]
fn headless_machines_join_by_file_environment_configuration_and_pipe() {
    let owner = tempfile::tempdir().unwrap();
    told(owner.path(), &["swarm", "create", "lab"]);
    let token = told(owner.path(), &["swarm", "invite", "--bootstrap", ADDRESS]);
    let guests = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let guests = guests.each_ref().map(|guest| guest.path());

    let file = guests[0].join("token");
    std::fs::write(&file, &token).unwrap();
    told(guests[0], &["join", "--token-file", file.to_str().unwrap()]);

    let by_environment = shoal(guests[1])
        .arg("join")
        .env("SHOAL_JOIN", &token)
        .output();
    assert!(by_environment.unwrap().status.success());

    let folder = guests[2].join("config/shoal");
    std::fs::create_dir_all(&folder).unwrap();
    let line = format!("join = \"{}\"\n", token.trim());
    std::fs::write(folder.join("config.toml"), line).unwrap();
    told(guests[2], &["join"]);
    let shown = told(guests[2], &["config", "show"]);
    assert!(shown.contains("join = \"(hidden)\""), "{shown}");

    let mut piped = shoal(guests[3]);
    let piped = piped.args(["join", "-"]).stdin(Stdio::piped());
    let piped = piped.stdout(Stdio::null()).spawn();
    let mut piped = piped.unwrap();
    piped
        .stdin
        .take()
        .unwrap()
        .write_all(token.as_bytes())
        .unwrap();
    assert!(piped.wait().unwrap().success());

    for guest in guests {
        assert_eq!(status(guest, "swarm"), "lab");
    }
}

#[test]
fn members_are_listed_put_out_and_taken_back() {
    let (owner, guest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (owner, guest) = (owner.path(), guest.path());
    told(owner, &["swarm", "create", "lab"]);
    let token = told(owner, &["swarm", "invite", "--bootstrap", ADDRESS]);
    told(guest, &["join", token.trim()]);
    let peer = status(guest, "node");

    let pass = run(owner, &["swarm", "renew", &peer]);
    let pass = text(&pass.stdout);
    assert!(
        pass.starts_with("shoalpass1_") && pass.lines().count() == 1,
        "{pass}"
    );
    let joined = told(guest, &["join", pass.trim()]);
    assert!(joined.contains("member of `lab` for 364 days"), "{joined}");
    assert_eq!(status(guest, "certificate"), "member for 364 days");
    let members = told(owner, &["swarm", "members"]);
    assert!(
        members.contains(&peer) && members.contains("holds for 364 days"),
        "{members}"
    );

    let gone = told(owner, &["swarm", "revoke", &peer]);
    assert!(gone.contains("put out of `lab`"), "{gone}");
    assert!(gone.contains("when it starts"), "{gone}");
    let members = told(owner, &["swarm", "members", "--json"]);
    let members: serde_json::Value = serde_json::from_str(&members).unwrap();
    let members = members.as_array().unwrap();
    let entry = members.iter().find(|entry| entry["peer"] == peer.as_str());
    assert!(
        entry.unwrap()["revoked_unix_millis"].is_u64(),
        "{members:?}"
    );

    // The list as the swarm would bring it.
    let lists = |dir: &Path| dir.join("data/swarms/lab/revocations");
    std::fs::create_dir_all(lists(guest)).unwrap();
    let list = std::fs::read_dir(lists(owner))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    std::fs::copy(list.path(), lists(guest).join(list.file_name())).unwrap();
    let revoked = refused(&run(guest, &["swarm", "status"]), 1);
    assert!(revoked.contains("was revoked"), "{revoked}");
    let again = refused(&run(guest, &["join", token.trim()]), 1);
    assert!(again.contains("was revoked"), "{again}");

    let back = told(owner, &["swarm", "renew", &peer]);
    told(guest, &["join", back.trim()]);
    assert_eq!(status(guest, "certificate"), "member for 364 days");
}

#[test]
fn a_delegate_invites_without_the_root_key() {
    let (owner, server) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (owner, server) = (owner.path(), server.path());
    told(owner, &["swarm", "create", "lab"]);
    let token = told(owner, &["swarm", "invite", "--bootstrap", ADDRESS]);
    told(server, &["join", token.trim()]);
    let peer = status(server, "node");
    let pass = told(
        owner,
        &["swarm", "delegate", &peer, "--may", "members,revoke"],
    );
    told(server, &["join", pass.trim()]);
    assert_eq!(
        status(server, "may sign"),
        "members, revocations (as a delegate)"
    );
    assert!(told(server, &["swarm", "invite"]).starts_with("shoal1_"));
    let clients = run(
        server,
        &[
            "swarm",
            "invite",
            "--role",
            "client",
            "--bootstrap",
            ADDRESS,
        ],
    );
    assert!(refused(&clients, 1).contains("may not invite"));
}

#[test]
fn wrong_input_gets_one_line_that_says_what_to_do() {
    let owner = tempfile::tempdir().unwrap();
    let guest = tempfile::tempdir().unwrap();
    let (owner, guest) = (owner.path(), guest.path());
    let nothing = refused(&run(guest, &["swarm", "members"]), 2);
    assert!(nothing.contains("shoal swarm create"), "{nothing}");
    assert!(refused(&run(guest, &["join"]), 2).contains("SHOAL_JOIN"));
    assert!(refused(&run(guest, &["join", "x"]), 2).contains("no join token"));
    told(owner, &["swarm", "create", "lab"]);
    let token = told(owner, &["swarm", "invite", "--bootstrap", ADDRESS]);
    let cut = &token.trim()[..100];
    assert!(refused(&run(guest, &["join", cut]), 2).contains("cut short"));
    let unknown = refused(&run(owner, &["swarm", "invite", "--swarm", "nope"]), 2);
    assert!(unknown.contains("(lab)"), "{unknown}");
    let again = refused(&run(owner, &["swarm", "create", "lab"]), 1);
    assert!(again.contains("knows a swarm `lab`"), "{again}");
    let long = refused(&run(owner, &["swarm", "invite", "--expires", "2y"]), 2);
    assert!(long.contains("7d"), "{long}");
    let address = refused(
        &run(owner, &["swarm", "invite", "--bootstrap", "here:1"]),
        2,
    );
    assert!(address.contains("/p2p/PEER"), "{address}");
    let peer = run(owner, &["swarm", "revoke", "nobody"]);
    assert_eq!(peer.status.code(), Some(2));
    let leave = refused(&run(owner, &["swarm", "leave"]), 1);
    assert!(leave.contains("--forget-root-key"), "{leave}");
    told(owner, &["swarm", "leave", "--forget-root-key"]);
    let gone = refused(&run(owner, &["swarm", "status"]), 2);
    assert!(gone.contains("knows no private swarm"), "{gone}");

    let missing = refused(&run(guest, &["join", "--token-file", "gone"]), 1);
    assert!(missing.contains("gone"), "{missing}");
    let up = run(guest, &["up", "--api", "127.0.0.1:0", "--join", "x"]);
    assert_eq!(up.status.code(), Some(2), "{}", text(&up.stderr));
    let told = text(&up.stderr);
    assert!(told.contains("`join` of the configuration"), "{told}");
}

#[test]
fn a_key_that_others_can_read_signs_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    told(dir.path(), &["swarm", "create", "lab"]);
    let key = dir.path().join("data/swarms/lab/root.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    for args in [&["swarm", "invite"][..], &["swarm", "status"]] {
        let output = run(dir.path(), args);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("chmod 600"), "{said}");
    }
}

#[test]
fn a_running_node_keeps_its_files_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &["--client"]);
    told(dir.path(), &["swarm", "create", "lab"]);
    let token = told(dir.path(), &["swarm", "invite", "--bootstrap", ADDRESS]);
    let joined = told(dir.path(), &["join", token.trim()]);
    assert!(joined.contains("restart the running node"), "{joined}");
    let peer = status(dir.path(), "root ");
    let revoked = told(dir.path(), &["swarm", "revoke", &peer]);
    assert!(revoked.contains("this node is in no swarm"), "{revoked}");
    assert!(node.request("GET /healthz", "").starts_with("HTTP/1.0 200"));
}
