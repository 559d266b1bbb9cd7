//! A stranger's record of demand: refused, or a record that its own encoding gives back; and the
//! periods of whoever signed it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use protocol::{
    Signed, UnixMillis,
    demand::{Demand, Period, Record},
    names::SwarmName,
};

/// Before the expiry of the seed in `seeds/demand`.
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signed) = Signed::<Demand>::decode(bytes) {
        if let Ok(author) = signed.claimed_author() {
            let ends = signed.claimed_expiry();
            let period = Period::at(&author, ends);
            assert!(period.begins() <= ends);
            let coin = period.coin(&SwarmName::public(), &author);
            assert!((0.0..1.0).contains(&coin));
            let _ = Period::ending(&author, ends);
        }
        let _ = signed.verify(NOW);
    }
    let Ok(demand) = Demand::decode(bytes) else {
        return;
    };
    let Ok(record) = Record::try_from(&demand) else {
        return;
    };
    assert_eq!(Record::try_from(&Demand::from(&record)), Ok(record));
});
