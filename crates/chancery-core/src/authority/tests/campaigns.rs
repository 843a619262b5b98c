//! What is declared of ciphertexts, and what becomes of campaigns.

use super::*;
use crate::campaign::{CampaignOrder, CampaignState, CampaignView, Progress};
use crate::census::{Declaration, Found, Scan, VersionCount};
use crate::id::CampaignId;
use crate::limits::{KEY_INVENTORIES_MAX, KEY_VERSIONS_MAX};

fn encrypting() -> Authority {
    let mut authority = genesis();
    let purpose = "encrypt.aead:card".parse().unwrap();
    let new = NewKey { purpose, suite: Suite::Aes256Gcm, ..new_key("cards") };
    operator(&mut authority, &Command::CreateKey(new)).unwrap();
    authority
}

fn scan(as_of: u64, ciphertexts: u64) -> Scan {
    let counts = vec![VersionCount { version: 1, ciphertexts, uses: 3 }];
    Scan { as_of: Epoch { generation: 0, number: as_of }, counts, others: 1, vouched: None }
}

fn declared(inventory: &str, found: Found) -> Command {
    let (key, inventory) = (name("cards"), name(inventory));
    Command::DeclareInventory(Declaration { key, inventory, found })
}

fn scanned(inventory: &str) -> Command {
    declared(inventory, Found::Scanned(scan(0, 5)))
}

fn start(inventory: &str) -> Command {
    let (key, inventory) = (name("cards"), name(inventory));
    Command::OrderCampaign(CampaignOrder::Start { key, inventory })
}

/// Decides with a fresh campaign of that number, and applies.
fn ordered(
    authority: &mut Authority,
    order: CampaignOrder,
    id: u8,
) -> Result<CampaignView, Reason> {
    let fresh = Fresh { campaign: CampaignId::from_bytes([id; 16]), ..fresh() };
    let order = Command::OrderCampaign(order);
    let decided = authority.decide(&principal(Role::Developer), &order, fresh, now());
    let decided = decided.map_err(|refusal| refusal.reason)?;
    for row in decided.rows {
        authority.apply(row).unwrap();
    }
    match decided.answer {
        Answer::Campaign(view) => Ok(*view),
        other => panic!("{other:?}"),
    }
}

fn begin(authority: &mut Authority, id: u8) -> Result<CampaignView, Reason> {
    let (key, inventory) = (name("cards"), name("files"));
    ordered(authority, CampaignOrder::Start { key, inventory }, id)
}

fn progress(total: u64, done: u64, failed: u64) -> Progress {
    Progress { total, done, failed }
}

#[test]
fn owners_declare_and_only_operators_take_a_place_out_of_the_census() {
    for role in Role::ALL {
        let mut authority = encrypting();
        let may = matches!(role, Role::Operator | Role::Developer);
        assert_eq!(command(&mut authority, role, &scanned("files")).is_ok(), may, "{role:?}");
        operator(&mut authority, &scanned("files")).unwrap();
        let withdrawn = declared("files", Found::Withdrawn);
        let is_operator = role == Role::Operator;
        assert_eq!(command(&mut authority, role, &start("files")).is_ok(), may, "{role:?}");
        let mut authority = encrypting();
        operator(&mut authority, &scanned("files")).unwrap();
        assert_eq!(command(&mut authority, role, &withdrawn).is_ok(), is_operator, "{role:?}");
    }
}

#[test]
fn a_declaration_is_of_a_key_that_encrypts_of_its_versions_and_of_the_past() {
    let mut authority = encrypting();
    let refused = |authority: &mut Authority, found| operator(authority, &declared("f", found));
    let ahead = Found::Scanned(scan(99, 5));
    assert_eq!(refused(&mut authority, ahead), Err(Reason::Malformed));
    let unknown =
        Scan { counts: vec![VersionCount { version: 2, ciphertexts: 0, uses: 0 }], ..scan(0, 0) };
    assert_eq!(refused(&mut authority, Found::Scanned(unknown)), Err(Reason::Malformed));
    let count = |version| VersionCount { version, ciphertexts: 0, uses: 0 };
    let counts = (0..=u32::try_from(KEY_VERSIONS_MAX).unwrap()).map(count).collect();
    let many = Found::Scanned(Scan { counts, ..scan(0, 0) });
    assert_eq!(refused(&mut authority, many), Err(Reason::Malformed));
    assert_eq!(refused(&mut authority, Found::Withdrawn), Err(Reason::Forbidden));
    let (key, inventory, found) = (name("k"), name("f"), Found::Scanned(scan(0, 5)));
    let signing = Command::DeclareInventory(Declaration { key, inventory, found });
    assert_eq!(operator(&mut with_key(), &signing), Err(Reason::PurposeRefused));
}

#[test]
fn a_key_has_as_many_inventories_as_it_may_and_each_can_be_declared_again() {
    let mut authority = encrypting();
    for n in 0..KEY_INVENTORIES_MAX {
        operator(&mut authority, &scanned(&format!("f{n}"))).unwrap();
    }
    assert_eq!(operator(&mut authority, &scanned("one-more")), Err(Reason::QuotaExhausted));
    operator(&mut authority, &scanned("f0")).unwrap();
    let key = authority.key_named(TENANT, &name("cards")).unwrap().id;
    assert_eq!(authority.inventories(TENANT, key).count(), KEY_INVENTORIES_MAX);
}

#[test]
fn an_earlier_scan_is_not_declared_behind_a_later_one() {
    let mut authority = encrypting();
    let epoch = authority.tenant(TENANT).unwrap().epoch.number;
    let at = |as_of| declared("files", Found::Scanned(scan(as_of, 5)));
    operator(&mut authority, &at(epoch)).unwrap();
    operator(&mut authority, &at(epoch)).unwrap();
    assert_eq!(operator(&mut authority, &at(epoch - 1)), Err(Reason::IllegalTransition));
    operator(&mut authority, &at(epoch + 2)).unwrap();
    assert_eq!(operator(&mut authority, &at(epoch + 9)), Err(Reason::Malformed));
}

#[test]
fn a_campaign_runs_over_a_declared_inventory_and_one_at_a_time() {
    let mut authority = encrypting();
    assert_eq!(begin(&mut authority, 1), Err(Reason::Forbidden));
    operator(&mut authority, &scanned("files")).unwrap();
    let view = begin(&mut authority, 1).unwrap();
    // Five that name the version, and one thing that is no ciphertext.
    assert_eq!((view.campaign.progress, view.target), (progress(6, 0, 0), Some(1)));
    assert_eq!(begin(&mut authority, 2), Err(Reason::IllegalTransition));
    let withdrawn = declared("files", Found::Withdrawn);
    assert_eq!(operator(&mut authority, &withdrawn), Err(Reason::IllegalTransition));
    let end = |campaign, progress| CampaignOrder::End { campaign, progress };
    let id = view.campaign.id;
    let too_much = end(id, progress(6, 6, 1));
    assert_eq!(ordered(&mut authority, too_much, 0), Err(Reason::Malformed));
    let over = ordered(&mut authority, end(id, progress(6, 5, 1)), 0).unwrap();
    assert_eq!(over.campaign.state, CampaignState::Incomplete);
    for order in [CampaignOrder::Pause(id), CampaignOrder::Resume(id), end(id, progress(6, 6, 0))] {
        assert_eq!(ordered(&mut authority, order, 0), Err(Reason::IllegalTransition));
    }
    let next = begin(&mut authority, 2).unwrap().campaign.id;
    // The one before is not remembered any more.
    assert_eq!(ordered(&mut authority, CampaignOrder::Pause(id), 0), Err(Reason::Forbidden));
    let done = ordered(&mut authority, end(next, progress(6, 6, 0)), 0).unwrap();
    assert_eq!(done.campaign.state, CampaignState::Done);
    operator(&mut authority, &withdrawn).unwrap();
    assert_eq!(begin(&mut authority, 3), Err(Reason::Forbidden));
}

#[test]
fn a_paused_campaign_neither_ends_nor_pauses_and_goes_on_when_told() {
    let mut authority = encrypting();
    operator(&mut authority, &scanned("files")).unwrap();
    let id = begin(&mut authority, 1).unwrap().campaign.id;
    let resume = || CampaignOrder::Resume(id);
    assert_eq!(ordered(&mut authority, resume(), 0), Err(Reason::IllegalTransition));
    let paused = ordered(&mut authority, CampaignOrder::Pause(id), 0).unwrap();
    assert_eq!(paused.campaign.state, CampaignState::Paused);
    assert_eq!(paused.campaign.moved_by, principal(Role::Developer).id);
    let pause = CampaignOrder::Pause(id);
    assert_eq!(ordered(&mut authority, pause, 0), Err(Reason::IllegalTransition));
    let end = CampaignOrder::End { campaign: id, progress: progress(6, 6, 0) };
    assert_eq!(ordered(&mut authority, end, 0), Err(Reason::IllegalTransition));
    let going = ordered(&mut authority, resume(), 0).unwrap();
    assert_eq!(going.campaign.state, CampaignState::Running);
}

/// Reports are of what there is, by whoever may run campaigns; that it is paused they are told.
#[test]
fn who_reports_is_told_how_the_campaign_stands() {
    let mut authority = encrypting();
    operator(&mut authority, &scanned("files")).unwrap();
    let campaign = begin(&mut authority, 1).unwrap().campaign.id;
    ordered(&mut authority, CampaignOrder::Pause(campaign), 0).unwrap();
    let report = |progress| Command::ReportCampaign { campaign, progress };
    let answer = command(&mut authority, Role::Developer, &report(progress(6, 1, 0))).unwrap();
    let Answer::Campaign(view) = answer else { panic!("{answer:?}") };
    assert_eq!(view.campaign.state, CampaignState::Paused);
    let too_much = command(&mut authority, Role::Developer, &report(progress(6, 7, 0)));
    assert_eq!(too_much, Err(Reason::Malformed));
    for role in [Role::Auditor, Role::Approver, Role::Verifier] {
        let asked = command(&mut authority, role, &report(progress(6, 1, 0)));
        assert_eq!(asked, Err(Reason::Forbidden), "{role:?}");
    }
}

/// Neither begins a campaign nor is shown as its target what does not protect for everybody.
#[test]
fn no_campaign_begins_while_no_version_protects_for_all() {
    let mut authority = encrypting();
    operator(&mut authority, &scanned("files")).unwrap();
    let compromised = Command::ChangeVersion {
        key: name("cards"),
        version: None,
        event: KeyEvent::ReportCompromise,
    };
    operator(&mut authority, &compromised).unwrap();
    assert_eq!(begin(&mut authority, 1), Err(Reason::IllegalTransition));
}

#[test]
fn rows_that_go_back_contradict_the_state() {
    let mut authority = encrypting();
    let key = authority.key_named(TENANT, &name("cards")).unwrap().id;
    operator(&mut authority, &scanned("files")).unwrap();
    let inventory = authority.inventories(TENANT, key).next().unwrap().clone();
    let view = begin(&mut authority, 1).unwrap();
    assert!(authority.apply(Row::Inventory(inventory.clone())).is_err());
    assert!(authority.apply(Row::Campaign(view.campaign.clone())).is_err());
    let elsewhere = crate::campaign::Campaign { inventory: name("other"), ..view.campaign };
    assert!(authority.apply(Row::Campaign(elsewhere)).is_err());
    let of_no_key = crate::census::Inventory { key: KeyId::from_bytes([99; 16]), ..inventory };
    assert!(authority.apply(Row::Inventory(of_no_key)).is_err());
}
