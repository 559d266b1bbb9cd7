//! Demand: each limit, other versions, hostile bytes; periods that tile and coins that are even.

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    envelope::Signed,
    ids::{NodeId, Sequence, UnixMillis},
    limits::*,
    names::SwarmName,
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn key(secret: u8) -> SigningKey {
    SigningKey::from_bytes(&[secret; 32])
}

fn node(secret: u8) -> NodeId {
    NodeId::from(&key(secret))
}

fn lab() -> SwarmName {
    "lab".parse().unwrap()
}

fn record() -> Record {
    Record {
        swarm: lab(),
        chance: 0.25,
        models: vec![
            Asking {
                model: "org/repo:Q4_K_M".parse().unwrap(),
                arrivals_per_second: 0.5,
                unmet_per_second: 0.125,
                waiting: Duration::from_millis(1500),
            },
            Asking {
                model: "smollm2:135m".parse().unwrap(),
                arrivals_per_second: 0.03125,
                unmet_per_second: 0.0,
                waiting: Duration::ZERO,
            },
        ],
    }
}

fn signed(secret: u8) -> Signed<Demand> {
    let expires = Period::at(&node(secret), NOW).ends();
    let demand = Demand::from(&record());
    Signed::sign(&key(secret), Sequence(7), expires, &demand).unwrap()
}

/// Why it is refused after a change.
fn refused(change: impl FnOnce(&mut Demand)) -> DemandError {
    let mut demand = Demand::from(&record());
    change(&mut demand);
    Record::try_from(&demand).unwrap_err()
}

#[test]
fn bytes_are_golden() {
    let bytes = hex::encode(Demand::from(&record()).encode_to_vec());
    assert_eq!(bytes, include_str!("golden/demand.hex").trim());
}

#[test]
fn a_record_survives_the_wire_and_is_small() {
    let bytes = signed(1).encode();
    assert!(bytes.len() < 260, "{} bytes", bytes.len());
    let verified = Signed::<Demand>::decode(&bytes).unwrap().verify(NOW);
    let verified = verified.unwrap();
    assert_eq!(Record::try_from(verified.message()), Ok(record()));
    assert!(record().is_unmet());
}

#[test]
fn the_longest_record_fits() {
    let longest = |n: usize| format!("{}{n:02}", "m".repeat(MAX_MODEL_NAME_BYTES - 2));
    let models = (0..MAX_DEMAND_MODELS).map(|n| Asking {
        model: longest(n).parse().unwrap(),
        arrivals_per_second: MAX_DEMAND_RATE,
        unmet_per_second: MAX_DEMAND_RATE / 3.0,
        waiting: MAX_DEMAND_WAIT,
    });
    let record = Record {
        models: models.collect(),
        ..record()
    };
    let demand = Demand::from(&record);
    assert!(demand.encoded_len() <= MAX_DEMAND_BYTES);
    assert_eq!(Record::try_from(&demand), Ok(record));
}

#[test]
fn fields_are_bounded() {
    let fields = [
        refused(|d| d.chance = 0.0),
        refused(|d| d.chance = -1.0),
        refused(|d| d.chance = 1.0 + f64::EPSILON),
        refused(|d| d.chance = f64::NAN),
        refused(|d| d.models[0].arrivals_per_second = 0.0),
        refused(|d| d.models[0].arrivals_per_second = f64::INFINITY),
        refused(|d| d.models[0].arrivals_per_second = f64::NAN),
        refused(|d| d.models[0].arrivals_per_second = MAX_DEMAND_RATE * 1.01),
        refused(|d| d.models[0].unmet_per_second = 0.500_001),
        refused(|d| d.models[0].unmet_per_second = -0.001),
        refused(|d| d.models[0].unmet_per_second = f64::NAN),
        refused(|d| d.models[0].waiting_millis = 3_600_001),
    ];
    let names = fields.map(|error| match error {
        DemandError::Field { field, .. } => field,
        error => panic!("{error}"),
    });
    let (chance, arrivals) = ("chance", "arrivals_per_second");
    let unmet = "unmet_per_second";
    let expected = [
        chance,
        chance,
        chance,
        chance,
        arrivals,
        arrivals,
        arrivals,
        arrivals,
        unmet,
        unmet,
        unmet,
        "waiting_millis",
    ];
    assert_eq!(names, expected);
}

#[test]
fn models_are_named_once_each_and_few() {
    assert_eq!(refused(|d| d.models.clear()), DemandError::Count(0));
    let many = refused(|d| d.models = vec![d.models[0].clone(); MAX_DEMAND_MODELS + 1]);
    assert_eq!(many, DemandError::Count(MAX_DEMAND_MODELS + 1));
    assert_eq!(
        refused(|d| d.models.push(d.models[1].clone())),
        DemandError::Duplicate
    );
    let model = refused(|d| d.models[1].model = "../x".into());
    assert!(matches!(model, DemandError::Model(_)));
    assert!(matches!(
        refused(|d| d.swarm = "A".into()),
        DemandError::Swarm(_)
    ));
}

#[test]
fn a_record_holds_for_a_period_and_its_lead_at_most() {
    let ends = NOW.saturating_add(DEMAND_PERIOD + DEMAND_LEAD + MAX_CLOCK_SKEW);
    let demand = Demand::from(&record());
    let sign = |ends| Signed::sign(&key(1), Sequence(1), ends, &demand).unwrap();
    assert!(sign(ends).verify(NOW).is_ok());
    assert!(sign(UnixMillis(ends.0 + 1)).verify(NOW).is_err());
    assert!(sign(NOW).verify(NOW).is_err());
}

#[test]
fn coins_are_golden() {
    let period = Period::at(&node(7), NOW);
    let coin = period.coin(&lab(), &node(7));
    let shown = format!("{} {coin:.9}", period.ends());
    assert_eq!(shown, include_str!("golden/coin.txt").trim());
    let other: SwarmName = "public".parse().unwrap();
    assert_ne!(coin, period.coin(&other, &node(7)));
    assert_ne!(coin, period.next().coin(&lab(), &node(7)));
    assert_ne!(coin, period.coin(&lab(), &node(8)));
}

#[test]
fn coins_are_even() {
    let mut period = Period::at(&node(1), NOW);
    let mut tenths = [0; 10];
    for _ in 0..10_000 {
        let coin = period.coin(&lab(), &node(1));
        assert!((0.0..1.0).contains(&coin));
        let tenth = (1..10)
            .filter(|tenth| coin >= f64::from(*tenth) / 10.0)
            .count();
        tenths[tenth] += 1;
        period = period.next();
    }
    assert!(
        tenths.iter().all(|count| (850..1150).contains(count)),
        "{tenths:?}"
    );
}

proptest! {
    #[test]
    fn periods_tile_time(secret: u8, millis in 0..4_000_000_000_000_u64) {
        let (author, time) = (node(secret), UnixMillis(millis));
        let period = Period::at(&author, time);
        prop_assert!(time < period.ends());
        prop_assert!(period.begins() <= time);
        prop_assert_eq!(Period::ending(&author, period.ends()), Ok(period));
        prop_assert_eq!(Period::at(&author, period.ends()), period.next());
        let off = UnixMillis(period.ends().0 + 1);
        prop_assert_eq!(Period::ending(&author, off), Err(DemandError::OffBeat));
    }

    #[test]
    fn any_time_is_in_some_period(secret: u8, millis: u64) {
        let author = node(secret);
        let period = Period::at(&author, UnixMillis(millis));
        let _ = (period.begins(), period.next(), period.coin(&lab(), &author));
        let _ = Period::ending(&author, UnixMillis(millis));
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = Demand::decode(bytes.as_slice()).map(|demand| Record::try_from(&demand));
        let _ = Signed::<Demand>::decode(&bytes).map(|signed| signed.verify(NOW));
    }

    #[test]
    fn damaged_records_never_panic_and_what_is_accepted_is_stable(
        at: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let mut bytes = Demand::from(&record()).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let accepted = Demand::decode(bytes.as_slice())
            .ok()
            .and_then(|demand| Record::try_from(&demand).ok());
        if let Some(record) = accepted {
            prop_assert_eq!(Record::try_from(&Demand::from(&record)), Ok(record));
        }
    }
}
