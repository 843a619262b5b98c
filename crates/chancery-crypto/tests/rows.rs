//! Sealed rows of the second implementation (`vectors/rows.json`) open here, and nowhere but in their place.

#[cfg(test)]
mod rows {
    use std::fs;
    use std::path::Path;

    use chancery_core::epoch::Epoch;
    use chancery_core::id::TenantId;
    use chancery_crypto::seal::{RowPlace, SealingKey, claimed_place};
    use chancery_memory::Arena;
    use serde_json::Value;

    fn bytes(value: &Value) -> Vec<u8> {
        let pair =
            |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        value.as_str().unwrap().as_bytes().as_chunks::<2>().0.iter().map(pair).collect()
    }

    #[test]
    fn rows_of_the_second_implementation_open_in_their_place() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/rows.json");
        let vectors: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let arena = Arena::with_capacity(64 * 1024).unwrap();
        let key = bytes(&vectors["key"]).try_into().unwrap();
        let key = SealingKey::from_bytes(&arena, &key).unwrap();
        let tenant = TenantId::from_bytes(bytes(&vectors["tenant"]).try_into().unwrap());
        let rows = vectors["sealed"].as_array().unwrap();
        for row in rows {
            let (name, sealed) = (bytes(&row["name"]), bytes(&row["sealed"]));
            let generation = row["epoch"][0].as_u64().unwrap().try_into().unwrap();
            let epoch = Epoch { generation, number: row["epoch"][1].as_u64().unwrap() };
            let version = row["version"].as_u64().unwrap();
            assert_eq!(claimed_place(&sealed), Ok((version, epoch)));
            let place = RowPlace { tenant, name: &name, version, epoch };
            assert_eq!(key.open(&place, &sealed).unwrap().as_slice(), bytes(&row["row"]));
            let later = RowPlace { version: version + 1, ..place };
            assert!(key.open(&later, &sealed).is_err());
        }
        assert_eq!(rows.len(), 3);
    }
}
