//! Frames of the second implementation (`vectors/messages.json`) are read alike, and its bad headers refused.

#[cfg(test)]
mod messages {
    use std::fs;
    use std::path::Path;

    use chancery_api::frame::{Decoder, Header};
    use serde_json::Value;

    fn bytes(value: &Value) -> Vec<u8> {
        let pair =
            |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        value.as_str().unwrap().as_bytes().as_chunks::<2>().0.iter().map(pair).collect()
    }

    fn vectors() -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/messages.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn frames_of_the_second_implementation_are_read_alike() {
        let vectors = vectors();
        let stream = bytes(&vectors["stream"]);
        let mut decoder = Decoder::default();
        decoder.push(&stream);
        let mut rebuilt = Vec::new();
        for message in vectors["messages"].as_array().unwrap() {
            let (header, body) = decoder.next_frame().unwrap().unwrap();
            assert_eq!(u64::from(header.kind as u8), message["kind"].as_u64().unwrap());
            assert_eq!(header.tag.to_string(), message["tag"].as_str().unwrap());
            assert_eq!(body, bytes(&message["body"]));
            rebuilt.extend_from_slice(&header.to_bytes());
            rebuilt.extend_from_slice(body);
        }
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(rebuilt, stream);
    }

    #[test]
    fn its_bad_headers_are_refused() {
        for vector in vectors()["refused"].as_array().unwrap() {
            let header = bytes(&vector["header"]).try_into().unwrap();
            assert!(Header::parse(&header).is_err(), "{}", vector["fault"]);
        }
    }
}
