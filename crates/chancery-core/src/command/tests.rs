//! That a command has one encoding, and its number is in it.

use super::*;
use crate::cbor;

fn suspend() -> Command {
    Command::ChangeVersion {
        key: "invoices".parse().unwrap(),
        version: Some(1),
        event: KeyEvent::Suspend,
    }
}

#[test]
fn a_command_has_one_encoding() {
    let bytes = cbor::encode(&suspend());
    assert_eq!(cbor::decode(&bytes, "command"), Ok(suspend()));
    assert!(cbor::decode::<Command>(&[bytes, vec![0]].concat(), "command").is_err());
}

#[test]
fn its_number_is_that_of_its_encoding() {
    for command in [suspend(), Command::BeginImport, Command::ReadStatus] {
        let mut decoder_input = cbor::encode(&command);
        let number = decoder_input.split_off(1);
        let encoded = if number[0] == 0x18 { number[1] } else { number[0] };
        assert_eq!(encoded, command.number());
    }
}
