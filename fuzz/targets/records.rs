//! Pax records, numbers in headers, and maps of sparse files.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::{numbers, pax, sparse_map};

fuzz_target!(|bytes: &[u8]| {
    pullet_fuzz::within((16 << 10) + 64 * bytes.len(), || {
        let _ = pax(bytes);
        for field in [8, 12] {
            let (number, time) = numbers(bytes.get(..field).unwrap_or(bytes));
            assert!(time.is_some() || number.is_none(), "{number:?} is not a time");
        }
        let mut map: Vec<u64> = bytes.as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect();
        let real_size = map.pop().unwrap_or_default();
        if let Ok(map) = sparse_map(&map, real_size) {
            assert!(map.is_sorted() && map.iter().all(|(offset, length)| offset + length <= real_size), "{map:?}");
            assert!(map.iter().map(|(_, length)| length).sum::<u64>() <= real_size, "{map:?}");
        }
    });
});
