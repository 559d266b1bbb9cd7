//! Estimates that are right in the mean and know their error, tellers that keep to the sample, and
//! listeners under hostile authors.

use std::time::Instant;

use ed25519_dalek::SigningKey;
use protocol::{
    ModelName, NodeId, Sequence, Signed, UnixMillis, Verified,
    demand::{Asking, Demand as Said, DemandError, Period, Record},
    limits::{DEMAND_LEAD, DEMAND_PERIOD, MAX_DEMAND_MODELS, MAX_DEMAND_RATE},
    names::SwarmName,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    core::adverts::{Moment, SHUN, Verdict},
    demand::{Asked, Demand},
};

const UNIX: UnixMillis = UnixMillis(1_800_000_000_000);

const SERVED: Asked = Asked::Served {
    waited: Duration::from_millis(1500),
};

fn key(author: u32) -> SigningKey {
    let mut secret = [0; 32];
    secret[..4].copy_from_slice(&author.to_be_bytes());
    SigningKey::from_bytes(&secret)
}

fn id(author: u32) -> NodeId {
    NodeId::from(&key(author))
}

fn lab() -> SwarmName {
    "lab".parse().unwrap()
}

fn model(name: &str) -> ModelName {
    name.parse().unwrap()
}

fn asking(name: &str, arrivals: f64, unmet: f64) -> Asking {
    Asking {
        model: model(name),
        arrivals_per_second: arrivals,
        unmet_per_second: unmet,
        waiting: Duration::from_millis(500),
    }
}

fn record(chance: f64, models: Vec<Asking>) -> Record {
    Record {
        swarm: lab(),
        chance,
        models,
    }
}

fn of<'a>(demand: &'a [Demand], name: &str) -> &'a Demand {
    let found = demand.iter().find(|demand| demand.model == model(name));
    found.unwrap_or_else(|| panic!("{name} is not in {demand:?}"))
}

fn seeded(seed: u64) -> StdRng {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or(seed);
    println!("SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Authors of both classes with rates that differ by a factor of four, none beyond the cap.
fn population(size: u32, rng: &mut StdRng) -> Vec<Record> {
    let author = |_| {
        let rate = rng.random_range(0.02..0.08);
        let unmet = if rng.random_bool(0.3) {
            rate / 2.0
        } else {
            0.0
        };
        record(1.0, vec![asking("hot", rate, unmet)])
    };
    (0..size).map(author).collect()
}

/// What is heard where each tells with the chance that its class has, by a coin of its own.
fn told(population: &[Record], rng: &mut StdRng) -> Vec<(f64, Record)> {
    let count = |is_unmet| {
        let class = population.iter().filter(|r| r.is_unmet() == is_unmet);
        f64::from(u32::try_from(class.count()).unwrap()) - 1.0
    };
    let crowd = Crowd {
        met: count(false),
        unmet: count(true),
        peers: 0,
    };
    let mut heard = Vec::new();
    for record in population {
        let (coin, chance) = (rng.random::<f64>(), crowd.chance(record.is_unmet()));
        if coin < chance {
            let models = record.models.clone();
            heard.push((coin, self::record(chance, models)));
        }
    }
    heard
}

fn estimated(heard: &[(f64, Record)]) -> Vec<Demand> {
    estimate(&[], heard.iter().map(|(coin, record)| (*coin, record)))
}

#[test]
fn the_mean_is_right_and_so_is_its_error() {
    let mut rng = seeded(1);
    for size in [1, 20, 64, 85, 200, 3000] {
        let population = population(size, &mut rng);
        let truth: f64 = population
            .iter()
            .map(|r| r.models[0].arrivals_per_second)
            .sum();
        let (mut sum, mut squares, mut claimed, mut within) = (0.0, 0.0, 0.0, 0);
        const TRIALS: u32 = 600;
        for _ in 0..TRIALS {
            let found = estimated(&told(&population, &mut rng));
            let arrivals = found
                .first()
                .map(|demand| demand.arrivals)
                .unwrap_or_default();
            let off = arrivals.per_second - truth;
            sum += off;
            squares += off * off;
            claimed += arrivals.error * arrivals.error;
            within += u32::from(off.abs() <= 2.0 * arrivals.error + 1e-9 * truth);
        }
        let trials = f64::from(TRIALS);
        let (mean, variance, claimed) = (sum / trials, squares / trials, claimed / trials);
        println!(
            "{size}: truth {truth:.3}, mean off {mean:.5}, error {:.4}, claimed {:.4}, within two {within}",
            variance.sqrt(),
            claimed.sqrt()
        );
        assert!(
            mean.abs() <= 4.0 * (variance / trials).sqrt() + 1e-9 * truth,
            "biased"
        );
        assert!((variance.sqrt() - claimed.sqrt()).abs() <= 0.15 * variance.sqrt() + 1e-6 * truth);
        assert!(within >= TRIALS * 9 / 10);
        // An eighth is the bound where all count the same; here rates differ.
        assert!(
            variance.sqrt() <= 0.15 * truth,
            "an error of {}",
            variance.sqrt() / truth
        );
    }
}

#[test]
fn where_everybody_is_heard_nothing_is_estimated() {
    let models = || vec![asking("a", 0.03, 0.01), asking("b", 0.01, 0.0)];
    let heard: Vec<_> = (0..60)
        .map(|n| (f64::from(n) / 60.0, record(1.0, models())))
        .collect();
    let found = estimated(&heard);
    let first = &found[0];
    assert_eq!(first.model, model("a"), "what is missed comes first");
    assert!((first.arrivals.per_second - 1.8).abs() < 1e-9);
    assert!((first.unmet.per_second - 0.6).abs() < 1e-9);
    assert_eq!((first.arrivals.error, first.unmet.error), (0.0, 0.0));
    assert_eq!(
        (first.authors, first.waiting),
        (60, Duration::from_millis(500))
    );
    assert!((of(&found, "b").arrivals.per_second - 0.6).abs() < 1e-9);
}

#[test]
fn the_own_users_count_for_themselves() {
    let own = [asking("mine", 5.0, 5.0), asking("both", 0.5, 0.0)];
    let others = record(0.5, vec![asking("both", 0.01, 0.0)]);
    let found = estimate(&own, [(0.25, &others)]);
    let mine = of(&found, "mine");
    assert_eq!(
        (mine.unmet.per_second, mine.unmet.error, mine.authors),
        (5.0, 0.0, 1)
    );
    let both = of(&found, "both");
    assert!(
        (both.arrivals.per_second - 0.52).abs() < 1e-9,
        "0.5 here, 0.01 twice: {both:?}"
    );
    assert_eq!(both.authors, 3);
    assert!(estimate(&[], []).is_empty());
}

#[test]
fn a_fifth_of_the_identities_adds_no_more_than_its_cap() {
    let mut rng = seeded(2);
    for size in [16, 80, 800, 4000] {
        let population = population(size, &mut rng);
        let truth: f64 = population
            .iter()
            .map(|r| r.models[0].arrivals_per_second)
            .sum();
        let mut rates: Vec<f64> = population
            .iter()
            .map(|r| r.models[0].arrivals_per_second)
            .collect();
        rates.sort_by(f64::total_cmp);
        let forgers = size / 4;
        // Their own numbers count for the middle, too, so it is of a higher one.
        let middle = rates[rates.len() * 5 / 8];
        let cap = (CAP_SPAN * middle).max(CAP_FLOOR) * 1.05;
        let (mut honest, mut forged) = (0.0, 0.0);
        const TRIALS: u32 = 60;
        for _ in 0..TRIALS {
            let mut heard = told(&population, &mut rng);
            // Whatever its coin, a forger tells, and says that it was bound to.
            heard.extend((0..forgers).map(|_| {
                let models = vec![asking("forged", MAX_DEMAND_RATE, MAX_DEMAND_RATE)];
                (rng.random(), record(1.0, models))
            }));
            let found = estimated(&heard);
            honest += of(&found, "hot").arrivals.per_second / f64::from(TRIALS);
            forged += of(&found, "forged").arrivals.per_second / f64::from(TRIALS);
        }
        println!("{size}: honest {honest:.3} of {truth:.3}, forged {forged:.3}, cap {cap:.3} each");
        assert!(
            forged <= f64::from(forgers) * cap * 1.15,
            "{forged} of {forgers}"
        );
        assert!(
            (honest - truth).abs() <= 0.1 * truth,
            "{honest} is not {truth}"
        );
    }
}

#[test]
fn nobody_weighs_more_by_its_own_word() {
    let mut heard: Vec<_> = (0..40)
        .map(|n| {
            (
                f64::from(n) / 40.0,
                record(1.0, vec![asking("hot", 0.02, 0.0)]),
            )
        })
        .collect();
    let before = estimated(&heard)[0].arrivals.per_second;
    // Drawn by luck, and by its word with a chance of one in a hundred thousand.
    heard.push((1e-6, record(1e-5, vec![asking("hot", 0.02, 0.0)])));
    let after = estimated(&heard)[0].arrivals.per_second;
    assert!(
        (after - before - 0.02).abs() < 1e-9,
        "{before} became {after}"
    );
}

#[test]
fn the_crowd_is_counted_by_its_coins() {
    let mut rng = seeded(3);
    for size in [10, 300, 5000] {
        let population = population(size, &mut rng);
        let (mut sum, trials) = (0.0, 200);
        for _ in 0..trials {
            let heard = told(&population, &mut rng);
            let crowd = sample::Samples::of(heard.iter().map(|(c, r)| (*c, r))).crowd();
            sum += crowd.met + crowd.unmet;
        }
        let mean = sum / f64::from(trials);
        let off = mean / f64::from(size) - 1.0;
        assert!(off.abs() < 0.03, "{mean} of {size}");
    }
}

#[test]
fn a_list_is_bounded() {
    let heard: Vec<_> = (0..60_u32)
        .map(|n| {
            let models = (0..16).map(|m| asking(&format!("m{n}-{m}"), 0.01, 0.0));
            (f64::from(n) / 60.0, record(1.0, models.collect()))
        })
        .collect();
    assert_eq!(estimated(&heard).len(), MAX_LISTED);
}

#[test]
fn a_steady_rate_is_found_and_halves_when_nobody_asks() {
    let (start, mut rates) = (Instant::now(), Rates::default());
    let mut now = start;
    for n in 0..1200 {
        now = start + Duration::from_secs(n);
        let asked = if n % 4 == 0 { Asked::Unmet } else { SERVED };
        rates.on_asked(&model("a"), asked, now);
    }
    let at = |now| rates.asking(now).first().cloned();
    let found = at(now).unwrap();
    assert!((found.arrivals_per_second - 1.0).abs() < 0.01, "{found:?}");
    assert!((found.unmet_per_second - 0.25).abs() < 0.01);
    assert!((found.waiting.as_secs_f64() - 1.5).abs() < 1e-6);
    let later = at(now + HALF_LIFE).unwrap();
    assert!((later.arrivals_per_second / found.arrivals_per_second - 0.5).abs() < 1e-9);
    assert_eq!(at(now + 60 * HALF_LIFE), None);
}

#[test]
fn one_request_is_forgotten_within_ten_minutes() {
    let (now, mut rates) = (Instant::now(), Rates::default());
    rates.on_asked(&model("a"), Asked::Unmet, now);
    assert_eq!(rates.asking(now).len(), 1);
    assert!(rates.asking(now)[0].unmet_per_second <= rates.asking(now)[0].arrivals_per_second);
    assert!(rates.asking(now + Duration::from_secs(600)).is_empty());
}

#[test]
fn names_that_clients_make_up_take_bounded_room() {
    let (now, mut rates) = (Instant::now(), Rates::default());
    for _ in 0..5 {
        rates.on_asked(&model("wanted"), Asked::Unmet, now);
    }
    for n in 0..10 * MAX_MODELS {
        rates.on_asked(&model(&format!("m{n}")), SERVED, now);
    }
    let asking = rates.asking(now);
    assert_eq!(asking.len(), MAX_DEMAND_MODELS);
    assert_eq!(
        asking[0].model,
        model("wanted"),
        "what is missed comes first, and stays"
    );
}

struct Teller {
    author: Author,
    rates: Rates,
    crowd: Crowd,
    at: Moment,
    told: Vec<(Record, Period, Sequence, Instant)>,
    own: NodeId,
    start: Instant,
}

impl Teller {
    fn new(own: u32, crowd: Crowd) -> Self {
        let now = Instant::now();
        Self {
            author: Author::new(id(own), lab()),
            rates: Rates::default(),
            crowd,
            at: Moment { now, unix: UNIX },
            told: Vec::new(),
            own: id(own),
            start: now,
        }
    }

    fn ask(&mut self, name: &str, asked: Asked) {
        self.rates.on_asked(&model(name), asked, self.at.now);
        self.author.on_asked(self.at.now);
        self.poll();
    }

    fn poll(&mut self) {
        if self
            .author
            .next_deadline()
            .is_none_or(|due| self.at.now < due)
        {
            return;
        }
        let asking = self.rates.asking(self.at.now);
        if let Some((record, stamp)) = self.author.poll(asking, &self.crowd, self.at) {
            let period = Period::ending(&self.own, stamp.expires).unwrap();
            self.told
                .push((record, period, stamp.sequence, self.at.now));
        }
        let due = self.author.next_deadline();
        assert!(
            due.is_none_or(|due| due > self.at.now),
            "a deadline that has passed"
        );
    }

    fn pass(&mut self, time: Duration) {
        let end = self.at.now + time;
        while self.at.now < end {
            let due = self.author.next_deadline();
            self.at.now = due.map_or(end, |due| due.clamp(self.at.now, end));
            self.at.unix = UNIX.saturating_add(self.at.now - self.start);
            self.poll();
        }
    }
}

#[test]
fn alone_a_node_tells_at_once_and_then_in_each_period() {
    let mut teller = Teller::new(1, Crowd::default());
    teller.ask("a", Asked::Unmet);
    assert_eq!(teller.told.len(), 1, "at once");
    for _ in 0..20 {
        teller.pass(Duration::from_secs(30));
        teller.ask("a", SERVED);
    }
    let periods: Vec<_> = teller.told.iter().map(|told| told.1).collect();
    assert!(
        periods.windows(2).all(|two| two[1] == two[0].next()),
        "{periods:?}"
    );
    assert!(periods.len() >= 10);
    assert!(
        teller.told.windows(2).all(|two| two[0].2 < two[1].2),
        "sequences grow"
    );
    for (record, _, _, _) in &teller.told {
        assert_eq!(Record::try_from(&Said::from(record)).as_ref(), Ok(record));
    }
}

#[test]
fn a_node_that_is_asked_nothing_tells_nothing_and_sleeps() {
    let mut teller = Teller::new(1, Crowd::default());
    assert_eq!(teller.author.next_deadline(), None);
    teller.ask("a", SERVED);
    teller.pass(Duration::from_secs(3600));
    assert!(
        teller.told.len() <= 11,
        "one request is told for nine minutes"
    );
    assert_eq!(teller.author.next_deadline(), None);
}

#[test]
fn what_is_told_keeps_to_the_chance() {
    let crowd = Crowd {
        met: 10.0 * SAMPLE,
        unmet: 0.0,
        peers: 0,
    };
    let mut told = 0;
    for author in 0..300 {
        let mut teller = Teller::new(author, crowd);
        teller.ask("a", SERVED);
        told += teller.told.len();
        for (record, period, _, _) in &teller.told {
            assert!(period.coin(&lab(), &teller.own) < record.chance);
            assert!((record.chance - crowd.chance(false)).abs() < 1e-12);
        }
    }
    assert!((15..=50).contains(&told), "a tenth of 300, not {told}");
}

#[test]
fn who_is_silent_tells_when_somebody_asks_in_vain() {
    let crowd = Crowd {
        met: 1e9,
        unmet: 0.0,
        peers: 0,
    };
    let mut teller = Teller::new(1, crowd);
    teller.ask("served", SERVED);
    assert!(teller.told.is_empty());
    teller.ask("missed", Asked::Unmet);
    assert_eq!(teller.told.len(), 1);
    assert!(teller.told[0].0.is_unmet());
    // Where very many do, it is silent in that class, too.
    teller.crowd.unmet = 1e9;
    teller.pass(4 * DEMAND_PERIOD);
    assert_eq!(teller.told.len(), 1);
}

#[test]
fn what_grows_is_told_anew_within_bounds() {
    let mut teller = Teller::new(1, Crowd::default());
    for _ in 0..400 {
        teller.ask("a", Asked::Unmet);
        teller.pass(Duration::from_millis(200));
    }
    let mut by_period = std::collections::BTreeMap::new();
    for (_, period, _, _) in &teller.told {
        *by_period.entry(*period).or_insert(0) += 1;
    }
    assert!(
        by_period.values().all(|count| *count <= MAX_SAYINGS),
        "{by_period:?}"
    );
    assert!(by_period.values().any(|count| *count > 1), "growth is told");
    let close = |two: &[(Record, Period, Sequence, Instant)]| {
        two[0].1 == two[1].1 && two[1].3 - two[0].3 < Duration::from_secs(5)
    };
    assert!(!teller.told.windows(2).any(close));
}

#[test]
fn where_all_begin_at_once_small_coins_go_first() {
    let crowd = Crowd {
        peers: 100_000,
        ..Crowd::default()
    };
    let waits = [1e-4, 0.002, 0.01, 0.1, 0.5, 0.99].map(|coin| crowd.wait(coin));
    assert_eq!(waits[0], Duration::ZERO);
    assert!(waits.is_sorted() && waits[5] <= DEMAND_LEAD && waits[5] > Duration::from_secs(2));
    assert_eq!(
        Crowd::default().wait(0.99),
        Duration::ZERO,
        "nobody else is there"
    );
    let mut teller = Teller::new(1, crowd);
    teller.ask("a", Asked::Unmet);
    teller.pass(2 * DEMAND_LEAD);
    assert!(
        (1..=2).contains(&teller.told.len()),
        "in this period, or the next"
    );
}

#[test]
fn an_own_record_from_before_a_restart_is_outdone() {
    let mut teller = Teller::new(1, Crowd::default());
    teller.author.on_own(Sequence(UNIX.0 + 1_000_000));
    teller.ask("a", SERVED);
    assert_eq!(teller.told[0].2, Sequence(UNIX.0 + 1_000_001));
}

struct Ear {
    listener: Listener,
    at: Moment,
}

impl Ear {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            listener: Listener::new(id(0), lab(), now),
            at: Moment { now, unix: UNIX },
        }
    }

    fn pass(&mut self, time: Duration) {
        self.at.now += time;
        self.at.unix = self.at.unix.saturating_add(time);
        if self
            .listener
            .next_deadline()
            .is_some_and(|due| due <= self.at.now)
        {
            self.listener.handle_timeout(self.at.now);
        }
    }

    /// A record of the author's present period, or of one that many later.
    fn said(&self, author: u32, sequence: u64, later: u32, record: &Record) -> Verified<Said> {
        let mut period = Period::at(&id(author), self.at.unix);
        for _ in 0..later {
            period = period.next();
        }
        sign(author, sequence, period.ends(), record)
    }

    fn hear(&mut self, author: u32, sequence: u64, record: &Record) -> Outcome {
        let said = self.said(author, sequence, 0, record);
        self.listener.handle(&said, self.at)
    }

    fn heard(&self) -> f64 {
        let demand = self.listener.demand(&[], self.at.now);
        demand
            .first()
            .map_or(0.0, |demand| demand.arrivals.per_second)
    }
}

/// Signed, and believed in form: whoever makes it may give it any expiry.
fn sign(author: u32, sequence: u64, expires: UnixMillis, record: &Record) -> Verified<Said> {
    let signed = Signed::sign(
        &key(author),
        Sequence(sequence),
        expires,
        &Said::from(record),
    );
    let then = UnixMillis(expires.0.saturating_sub(1));
    signed.unwrap().verify(then).unwrap()
}

fn usual(rate: f64) -> Record {
    record(1.0, vec![asking("a", rate, 0.0)])
}

#[test]
fn the_newest_of_an_author_counts_and_replays_do_not() {
    let mut ear = Ear::new();
    let (first, second) = (
        ear.said(1, 5, 0, &usual(0.01)),
        ear.said(1, 6, 0, &usual(0.02)),
    );
    assert_eq!(ear.listener.handle(&first, ear.at), Outcome::Taken);
    assert_eq!(ear.listener.handle(&first, ear.at), Outcome::Duplicate);
    assert_eq!(ear.listener.handle(&second, ear.at), Outcome::Taken);
    assert_eq!(ear.listener.handle(&first, ear.at), Outcome::Duplicate);
    assert_eq!(ear.heard(), 0.02);
    ear.pass(DEMAND_PERIOD);
    assert_eq!(ear.listener.handle(&second, ear.at), Outcome::Expired);
    assert_eq!((ear.heard(), ear.listener.len()), (0.0, 0));
}

#[test]
fn the_next_period_waits_for_its_turn() {
    let mut ear = Ear::new();
    assert_eq!(ear.hear(1, 5, &usual(0.01)), Outcome::Taken);
    let next = ear.said(1, 6, 1, &usual(0.03));
    let left = Period::at(&id(1), ear.at.unix)
        .ends()
        .saturating_since(ear.at.unix);
    ear.pass(left.saturating_sub(DEMAND_LEAD));
    assert_eq!(ear.listener.handle(&next, ear.at), Outcome::Taken);
    assert_eq!(ear.heard(), 0.01, "the present one still counts");
    ear.pass(DEMAND_LEAD);
    assert_eq!(ear.heard(), 0.03, "and is followed without a gap");
}

#[test]
fn a_record_from_the_future_is_refused() {
    let mut ear = Ear::new();
    let early = ear.said(1, 5, 3, &usual(0.01));
    let outcome = ear.listener.handle(&early, ear.at);
    assert_eq!(
        (outcome.verdict(), outcome),
        (Verdict::Ignore, Outcome::Early)
    );
    assert!(ear.listener.is_empty());
}

#[test]
fn who_says_two_things_at_once_is_shunned() {
    let mut ear = Ear::new();
    assert_eq!(ear.hear(1, 5, &usual(0.01)), Outcome::Taken);
    let outcome = ear.hear(1, 5, &usual(0.02));
    assert_eq!(
        (outcome.verdict(), outcome),
        (Verdict::Accept, Outcome::Equivocation)
    );
    assert_eq!(ear.hear(1, 6, &usual(0.01)), Outcome::Shunned);
    assert_eq!(ear.heard(), 0.0);
    ear.pass(SHUN);
    assert_eq!(ear.hear(1, 7, &usual(0.01)), Outcome::Taken);
}

#[test]
fn who_was_not_drawn_or_is_off_the_beat_is_nobody() {
    let mut ear = Ear::new();
    let coin = Period::at(&id(1), UNIX).coin(&lab(), &id(1));
    let chance = coin.max(f64::MIN_POSITIVE);
    let against = record(chance, vec![asking("a", 0.01, 0.0)]);
    assert_eq!(
        ear.hear(1, 5, &against),
        Outcome::Malformed(DemandError::NotDrawn)
    );
    let ends = Period::at(&id(1), UNIX).ends();
    let off = sign(1, 5, UnixMillis(ends.0 - 1), &usual(0.01));
    let outcome = ear.listener.handle(&off, ear.at);
    assert_eq!(outcome, Outcome::Malformed(DemandError::OffBeat));
    assert_eq!(outcome.verdict(), Verdict::Reject);
    let other = Record {
        swarm: "other".parse().unwrap(),
        ..usual(0.01)
    };
    assert_eq!(ear.hear(1, 5, &other), Outcome::OtherSwarm);
    assert_eq!(ear.hear(0, 5, &usual(0.01)), Outcome::Own(Sequence(5)));
    assert!(ear.listener.is_empty());
}

#[test]
fn an_author_says_so_much_and_no_more() {
    let mut ear = Ear::new();
    let outcomes: Vec<_> = (1..=8).map(|n| ear.hear(1, n, &usual(0.01))).collect();
    let taken = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Taken);
    assert_eq!(taken.count(), usize::try_from(MAX_SAYINGS).unwrap());
    assert_eq!(outcomes[7], Outcome::TooOften);
    assert!(ear.heard() > 0.0);
}

#[test]
fn who_tells_against_the_crowd_is_not_passed_on_and_the_table_is_bounded() {
    let mut ear = Ear::new();
    let mut outcomes = Vec::new();
    for author in 1..6000 {
        outcomes.push(ear.hear(author, 5, &usual(0.01)));
        ear.pass(Duration::from_millis(1));
        assert!(ear.listener.len() <= MAX_AUTHORS);
    }
    let late = &outcomes[3000..];
    let passed = late
        .iter()
        .filter(|outcome| **outcome == Outcome::Taken)
        .count();
    assert!(late.contains(&Outcome::Surplus));
    assert!(
        passed * 3 < late.len(),
        "{passed} of {} were passed on",
        late.len()
    );
    let crowd = ear.listener.crowd(ear.at.now + Duration::from_secs(1));
    assert!((3500.0..=8500.0).contains(&crowd.met), "{crowd:?}");
}

#[test]
fn without_a_period_of_listening_the_whole_swarm_may_tell() {
    let mut ear = Ear::new();
    let crowd = ear.listener.crowd_of(5000, ear.at.now);
    assert_eq!((crowd.met, crowd.unmet, crowd.peers), (5000.0, 0.0, 5000));
    ear.pass(DEMAND_PERIOD);
    assert_eq!(ear.listener.crowd_of(5000, ear.at.now).met, 0.0);
}
