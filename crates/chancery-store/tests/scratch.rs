use chancery_store::*;
use std::time::Instant;
#[test]
fn scratch_open() {
    let dir = std::env::temp_dir().join("scratch-store");
    let _ = std::fs::remove_dir_all(&dir);
    private_dir(&dir).unwrap();
    let p = dir.join("s");
    let s = Embedded::open(&p, OpenMode::Create).unwrap();
    let t = Instant::now();
    for i in 0..1_000_000u64/125 {
        let mut tx = Transaction::new();
        for j in 0..125 { let n = i*125+j; let mut name = vec![7u8;16]; name.push(1); name.extend(n.to_be_bytes()); name.extend((n*2654435761).to_be_bytes()); tx = tx.put(RowName::new(name).unwrap(), vec![(n*31) as u8; 400]); }
        s.commit(tx).unwrap();
    }
    eprintln!("fill {:?} size {}", t.elapsed(), std::fs::metadata(&p).unwrap().len());
    drop(s);
    let t = Instant::now();
    let s = Embedded::open(&p, OpenMode::ReadWrite).unwrap();
    eprintln!("open checked {:?}", t.elapsed());
    let t = Instant::now();
    eprintln!("check rows {} {:?}", check(&s).unwrap().rows, t.elapsed());
    let t = Instant::now();
    for i in 0..500u32 { s.commit(Transaction::new().put(RowName::new(i.to_be_bytes()).unwrap(), vec![1;300])).unwrap(); }
    eprintln!("500 commits {:?}", t.elapsed());
    std::mem::forget(s);
    let copy = dir.join("c"); std::fs::copy(&p, &copy).unwrap();
    use std::os::unix::fs::PermissionsExt; std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
    let t = Instant::now();
    let s = Embedded::open(&copy, OpenMode::ReadWrite).unwrap();
    eprintln!("open unclean {:?}", t.elapsed());
    drop(s);
    let t = Instant::now();
    let db = redb::Database::builder().set_cache_size(16<<20).open(&copy).unwrap();
    eprintln!("plain open {:?}", t.elapsed());
    drop(db);
    let _ = std::fs::remove_dir_all(&dir);
}
#[test]
fn scratch_shared() {
    use redb::*;
    const T: TableDefinition<u64,u64> = TableDefinition::new("t");
    let p = std::env::temp_dir().join("scratch-shared.redb");
    let _ = std::fs::remove_file(&p);
    let w = Database::builder().set_concurrency_mode(ConcurrencyMode::SingleWriter).create(&p).unwrap();
    let tx = w.begin_write().unwrap(); tx.open_table(T).unwrap().insert(1,1).unwrap(); tx.commit().unwrap();
    let r = Database::builder().set_concurrency_mode(ConcurrencyMode::SingleWriter).open_read_only(&p).unwrap();
    let tx = w.begin_write().unwrap(); tx.open_table(T).unwrap().insert(1,2).unwrap(); tx.commit().unwrap();
    let v = r.begin_read().unwrap().open_table(T).unwrap().get(1).unwrap().unwrap().value();
    eprintln!("reader beside single writer sees {v}");
    eprintln!("exclusive reader: {:?}", Database::builder().open_read_only(&p).err());
    eprintln!("second writer: {:?}", Database::builder().set_concurrency_mode(ConcurrencyMode::SingleWriter).open(&p).err());
}
