//! Months that turn, are destroyed, or have no keys yet; names that come later; records of somebody else.

use std::cell::{Cell, RefCell};

use chancery_audit::codec::Reader;
use chancery_audit::disclosure::TenantEvents;
use chancery_audit::frame::Item;
use chancery_audit::record::{BuildGroup, Facts, Kind};
use chancery_audit::sealer::{Keyring as Sealing, MonthKeys, MonthSecrets, Sealer, month_of};
use chancery_core::clock::{Quality, Reading, Served};

use super::*;

const OWN: TenantId = TenantId::from_bytes([1; 16]);
const OTHER: TenantId = TenantId::from_bytes([2; 16]);
const BOOT: Boot = Boot { log_id: [3; 32], boot_nonce: [4; 16] };
const KEY: KeyId = KeyId::from_bytes([7; 16]);
const ORIGIN: &str = "chancery.log/x";

/// The first milliseconds of two months.
const NOVEMBER: u64 = 1_793_491_200_000;
const DECEMBER: u64 = 1_796_083_200_000;

/// A service in memory.
#[derive(Default)]
struct Fake {
    months: RefCell<BTreeMap<(TenantId, Month), MonthSecrets>>,
    names: RefCell<Vec<&'static str>>,
    disclosures: Cell<u32>,
    lists: Cell<u32>,
}

impl Fake {
    fn with(months: &[(TenantId, u64)]) -> Self {
        let fake = Self::default();
        for (tenant, unix_ms) in months {
            fake.make(*tenant, *unix_ms);
        }
        fake
    }

    fn make(&self, tenant: TenantId, unix_ms: u64) {
        let month = month_of(unix_ms);
        self.months.borrow_mut().insert((tenant, month), secrets(tenant, month));
    }
}

fn secrets(tenant: TenantId, month: Month) -> MonthSecrets {
    let byte = tenant.as_bytes()[0] ^ month.to_be_bytes()[1];
    let key = |number: u8| [byte.wrapping_add(number); 32];
    MonthSecrets { sections: [key(1), key(2), key(3)], pseudonyms: key(4), answers: key(5) }
}

impl Discloses for Fake {
    fn events(&self, _: &str, month: Month) -> Result<Option<EventsDisclosed>, ReadError> {
        self.disclosures.set(self.disclosures.get() + 1);
        let tenants = [OWN, TenantId::SYSTEM].map(|tenant| TenantEvents {
            tenant,
            secrets: self.months.borrow().get(&(tenant, month)).map(EventSecrets::of),
        });
        let has_any = tenants.iter().any(|tenant| tenant.secrets.is_some());
        Ok(has_any.then(|| EventsDisclosed { month, tenants: tenants.into() }))
    }

    fn keys(&self) -> Result<Vec<(TenantId, KeyId, Name)>, ReadError> {
        self.lists.set(self.lists.get() + 1);
        Ok(self.names.borrow().iter().map(|name| (OWN, KEY, name.parse().unwrap())).collect())
    }
}

/// A record of a tenant, as the service seals it then.
fn sealed(tenant: TenantId, unix_ms: u64) -> Vec<u8> {
    let sealing = Sealing::default();
    let month = month_of(unix_ms);
    sealing.insert(tenant, month, MonthKeys::derive(&secrets(tenant, month), BOOT).unwrap());
    let build = BuildGroup { build: [0; 32], configuration: [0; 32] };
    let mut sealer = Sealer::new(Arc::new(sealing), BOOT, 1, build);
    let (quality, served) = (Quality::Plausible, Served::default());
    let now = Reading { unix_ms, quality, served, wall_ms: unix_ms };
    let mut facts = Facts::new(tenant, now, Kind::Use);
    facts.key = Some((KEY, 1));
    let item: Item = sealer.prepare(&facts, None).unwrap().finish(None, 0).0;
    item.to_bytes()
}

struct Scene {
    fake: Fake,
    keyring: Keyring,
}

impl Scene {
    fn with(months: &[(TenantId, u64)]) -> Self {
        Self { fake: Fake::with(months), keyring: Keyring::default() }
    }

    /// Whether the record of a tenant at an index opens, in a log of so many.
    fn opens(&mut self, (tenant, unix_ms): (TenantId, u64), index: u64, size: u64) -> bool {
        let bytes = sealed(tenant, unix_ms);
        let item = ItemView::read(&mut Reader::new(&bytes)).unwrap();
        let place = Place { index, size, boot: BOOT };
        let opener = self.keyring.opener(&self.fake, ORIGIN, (&item, place)).unwrap();
        opener.is_some_and(|opener| opener.keys.open(&item, &mut Vec::new()).is_some())
    }

    fn name(&mut self) -> Option<Arc<str>> {
        let bytes = sealed(OWN, NOVEMBER);
        let item = ItemView::read(&mut Reader::new(&bytes)).unwrap();
        let place = Place { index: 0, size: 1, boot: BOOT };
        let opener = self.keyring.opener(&self.fake, ORIGIN, (&item, place)).unwrap().unwrap();
        let facts = opener.keys.open(&item, &mut Vec::new()).unwrap();
        self.keyring.name(&self.fake, &opener, &facts.section.key.key).unwrap()
    }
}

#[test]
fn a_month_is_asked_for_once_and_the_next_when_it_comes() {
    let (november, december) = ((OWN, NOVEMBER), (OWN, DECEMBER));
    let mut scene = Scene::with(&[november, december, (TenantId::SYSTEM, DECEMBER)]);
    for index in 0..3 {
        assert!(scene.opens(november, index, 9));
    }
    assert_eq!(scene.fake.disclosures.get(), 1);
    for (what, index) in [(december, 3), ((TenantId::SYSTEM, DECEMBER), 4), (november, 5)] {
        assert!(scene.opens(what, index, 9));
    }
    assert_eq!(scene.fake.disclosures.get(), 2);
}

#[test]
fn records_of_a_month_that_is_gone_are_passed_and_asked_for_once() {
    let mut scene = Scene::with(&[(OWN, DECEMBER)]);
    for index in 0..3 {
        assert!(!scene.opens((OWN, NOVEMBER), index, 9));
    }
    assert_eq!(scene.fake.disclosures.get(), 1);
    assert!(scene.opens((OWN, DECEMBER), 3, 9));
    // The service's own are gone; what is there of the tenant opens.
    for index in 4..6 {
        assert!(!scene.opens((TenantId::SYSTEM, DECEMBER), index, 9));
    }
    assert_eq!(scene.fake.disclosures.get(), 2);
}

#[test]
fn keys_that_were_made_later_are_asked_for_again_by_a_record_that_came_later() {
    let mut scene = Scene::with(&[(TenantId::SYSTEM, NOVEMBER)]);
    assert!(scene.opens((TenantId::SYSTEM, NOVEMBER), 0, 5));
    assert!(!scene.opens((OWN, NOVEMBER), 4, 5));
    assert_eq!(scene.fake.disclosures.get(), 1);
    scene.fake.make(OWN, NOVEMBER);
    assert!(scene.opens((OWN, NOVEMBER), 5, 6));
    assert_eq!(scene.fake.disclosures.get(), 2);
    // Of a month of which there was nothing at all, likewise.
    assert!(!scene.opens((OWN, DECEMBER), 6, 7));
    scene.fake.make(OWN, DECEMBER);
    assert!(scene.opens((OWN, DECEMBER), 7, 8));
    assert_eq!(scene.fake.disclosures.get(), 4);
}

#[test]
fn nothing_is_asked_for_by_records_of_another_tenant_once_the_month_is_there() {
    let mut scene = Scene::with(&[(OWN, NOVEMBER), (OTHER, NOVEMBER)]);
    for index in 0..9 {
        assert!(!scene.opens((OTHER, NOVEMBER), index, index + 1));
    }
    assert_eq!(scene.fake.disclosures.get(), 1);
    assert!(scene.opens((OWN, NOVEMBER), 9, 10));
    assert_eq!(scene.fake.disclosures.get(), 1);
}

#[test]
fn a_name_is_listed_once_and_one_that_nobody_knows_is_asked_for_no_more() {
    let mut scene = Scene::with(&[(OWN, NOVEMBER)]);
    assert_eq!(scene.name(), None);
    let asked = scene.fake.lists.get();
    assert_eq!((scene.name(), scene.fake.lists.get()), (None, asked));
    let mut scene = Scene::with(&[(OWN, NOVEMBER)]);
    scene.fake.names.borrow_mut().push("invoices");
    for _ in 0..3 {
        assert_eq!(scene.name().as_deref(), Some("invoices"));
    }
    assert_eq!(scene.fake.lists.get(), 1);
}
