//! An internet of this machine: hosts in network namespaces, each behind a NAT or not, with
//! delays, jitter and loss between them. It needs root, `ip` and `/dev/net/tun`, but no support of
//! the kernel for NAT or delays: every packet goes through one thread of this process, which
//! carries it as [`router::Router`] says. It knows nothing of what the hosts run.

pub mod link;
pub mod nat;
pub mod netns;
pub mod packet;
pub mod router;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rand::{SeedableRng, rngs::StdRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::SyncDevice;

pub use self::{
    link::Link,
    nat::Kind,
    router::{Change, Counts, HostId},
};
use self::{
    netns::{Namespace, remove_leftovers},
    router::{Attachment, Router},
};

/// How long the thread sleeps when nothing comes: a change waits so long at most.
const IDLE: Duration = Duration::from_millis(10);

/// Packets of one host that are taken before the next one's.
const BURST: usize = 64;

/// More than any packet of a device with an MTU of 1500 bytes.
const PACKET_BYTES: usize = 2048;

/// Why there is no internet here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// Namespaces and devices are root's.
    #[error("it needs root")]
    NotRoot,
    /// The system has no namespaces, no `ip` or no TUN devices.
    #[error("this system does not allow it: {0:#}")]
    Refused(anyhow::Error),
}

/// A host. Its namespace goes with it.
#[derive(Debug)]
pub struct Host {
    /// Its name among the others.
    pub id: HostId,
    /// Where the world sees it.
    pub outside: Ipv4Addr,
    /// The same over IPv6, if it has that.
    pub ipv6: Option<Ipv6Addr>,
    namespace: Namespace,
}

impl Host {
    /// A program, to be run on this host.
    pub fn command(&self, program: &Path) -> Command {
        self.namespace.command(program)
    }
}

enum Order {
    Add(Attachment, Box<SyncDevice>),
    Change(Change),
}

/// The internet. It ends when it is dropped; its hosts then reach nobody.
#[derive(Debug)]
pub struct Internet {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Mutex<Counts>>,
    hosts: usize,
}

impl Internet {
    /// One without hosts.
    ///
    /// # Errors
    /// This machine or this user cannot have one: whoever tests with it passes the test over and
    /// says why.
    pub fn start() -> Result<Self, Unavailable> {
        if !rustix::process::geteuid().is_root() {
            return Err(Unavailable::NotRoot);
        }
        remove_leftovers();
        Namespace::new(&attachment(0, None)).map_err(Unavailable::Refused)?;
        let (orders, received) = channel();
        let counts = Arc::new(Mutex::new(Counts::default()));
        let shell = Shell {
            router: Router::default(),
            devices: Vec::new(),
            orders: received,
            rng: StdRng::from_rng(&mut rand::rng()),
            counts: counts.clone(),
        };
        Ok(Self {
            orders: Some(orders),
            thread: Some(std::thread::spawn(|| shell.run())),
            counts,
            hosts: 0,
        })
    }

    /// A host that everybody reaches, over IPv4 and IPv6.
    ///
    /// # Errors
    /// The system does not allow one more.
    pub fn public(&mut self) -> Result<Host> {
        self.add(None)
    }

    /// A host behind a NAT, with IPv4 only.
    ///
    /// # Errors
    /// As [`Internet::public`].
    pub fn home(&mut self, kind: Kind) -> Result<Host> {
        self.add(Some(kind))
    }

    /// Changes something; within a few milliseconds it holds.
    pub fn change(&self, change: Change) {
        self.order(Order::Change(change));
    }

    /// What became of the packets so far: for whoever wonders why a test fails.
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&mut self, nat: Option<Kind>) -> Result<Host> {
        let id = HostId(self.hosts);
        let number = u8::try_from(self.hosts + 1).context("too many hosts")?;
        self.hosts += 1;
        let attachment = attachment(number, nat);
        let (namespace, device) = Namespace::new(&attachment)?;
        let host = Host {
            id,
            outside: attachment
                .nat
                .map_or(attachment.ipv4, |(_, outside)| outside),
            ipv6: attachment.ipv6,
            namespace,
        };
        self.order(Order::Add(attachment, Box::new(device)));
        Ok(host)
    }

    /// A thread that has ended carries nothing, which a test sees by itself.
    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Every host in a network of its own, by addresses that are nobody's documentation: libp2p and
/// dht tell addresses of the Internet from others.
fn attachment(number: u8, nat: Option<Kind>) -> Attachment {
    match nat {
        Some(kind) => Attachment {
            ipv4: Ipv4Addr::new(192, 168, number, 2),
            ipv6: None,
            nat: Some((kind, Ipv4Addr::new(45, 81, number, 1))),
        },
        None => Attachment {
            ipv4: Ipv4Addr::new(45, 80, number, 10),
            ipv6: Some(Ipv6Addr::new(
                0x2a0c,
                0x5a80,
                number.into(),
                0,
                0,
                0,
                0,
                0x10,
            )),
            nat: None,
        },
    }
}

/// The thread that carries packets between the devices.
struct Shell {
    router: Router,
    devices: Vec<SyncDevice>,
    orders: Receiver<Order>,
    rng: StdRng,
    counts: Arc<Mutex<Counts>>,
}

impl Shell {
    fn run(mut self) {
        while self.take_orders() {
            self.deliver();
            self.wait();
            self.collect();
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.router.counts();
        }
    }

    /// Whether there may be more.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Add(host, device)) => {
                    if self.router.add(&host).is_some() {
                        self.devices.push(*device);
                    }
                }
                Ok(Order::Change(change)) => self.router.change(change),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Hands on what has arrived. A host that does not take it has lost it.
    fn deliver(&mut self) {
        while let Some((host, packet)) = self.router.poll(Instant::now()) {
            if let Some(device) = self.devices.get(host.0) {
                let _ = device.send(&packet);
            }
        }
    }

    fn wait(&self) {
        let due = self.router.next_deadline();
        let wait = due.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        let wait = Timespec::try_from(wait.min(IDLE)).expect("it is short");
        let devices = self.devices.iter();
        let mut waiting: Vec<PollFd<'_>> = devices
            .map(|device| PollFd::new(device, PollFlags::IN))
            .collect();
        // An interrupted sleep is only shorter.
        let _ = poll(&mut waiting, Some(&wait));
    }

    fn collect(&mut self) {
        let mut buffer = [0; PACKET_BYTES];
        for (number, device) in self.devices.iter().enumerate() {
            for _ in 0..BURST {
                let Ok(length) = device.recv(&mut buffer) else {
                    break;
                };
                let packet = buffer[..length].to_vec();
                let now = Instant::now();
                self.router
                    .accept(HostId(number), packet, now, &mut self.rng);
            }
        }
    }
}
