//! The demo business: Halcyon Lisboa in the Chiado. People, rooms, services, hours, customers.

use serde_json::{Value, json};
use uuid::Uuid;

use super::dice::id;

pub const ZONE: &str = "Europe/Lisbon";
pub const CURRENCY: &str = "EUR";

pub struct Staff {
    pub name: &'static str,
    /// Categories of service.
    pub performs: &'static [&'static str],
    /// ISO weekdays.
    pub days: &'static [i8],
    pub shifts: &'static [(&'static str, &'static str)],
}

pub const STAFF: [Staff; 6] = [
    Staff {
        name: "Ana Beltrão",
        performs: &["Massage", "Body"],
        days: &[1, 2, 3, 4, 5],
        shifts: &[("09:00", "13:00"), ("14:00", "18:00")],
    },
    Staff {
        name: "Tomás Figueira",
        performs: &["Massage"],
        days: &[2, 3, 4, 5, 6],
        shifts: &[("11:00", "15:00"), ("16:00", "20:00")],
    },
    Staff {
        name: "Priya Raman",
        performs: &["Face", "Body"],
        days: &[1, 2, 4, 5, 6],
        shifts: &[("09:00", "13:30"), ("14:30", "17:30")],
    },
    Staff {
        name: "Ελένη Παππά",
        performs: &["Massage", "Face"],
        days: &[1, 3, 4, 5, 6],
        shifts: &[("10:00", "14:00"), ("15:00", "19:00")],
    },
    Staff {
        name: "Олена Шевчук",
        performs: &["Hands", "Face"],
        days: &[1, 2, 3, 5, 6],
        shifts: &[("09:30", "13:30"), ("14:30", "18:30")],
    },
    Staff {
        name: "نادية منصور",
        performs: &["Body", "Massage"],
        days: &[2, 3, 4, 6],
        shifts: &[("12:00", "16:00"), ("17:00", "20:00")],
    },
];

/// Name and the categories that take place there.
pub const ROOMS: [(&str, &[&str]); 4] = [
    ("Garden room", &["Massage", "Body"]),
    ("Quiet room", &["Massage", "Face"]),
    ("River room", &["Massage", "Face", "Body"]),
    ("Studio", &["Face", "Hands", "Body"]),
];

pub struct Service {
    pub name: &'static str,
    pub category: &'static str,
    pub minutes: i32,
    pub after_min: i32,
    pub price_minor: i64,
}

const fn service(
    name: &'static str,
    category: &'static str,
    minutes: i32,
    after_min: i32,
    price_minor: i64,
) -> Service {
    Service {
        name,
        category,
        minutes,
        after_min,
        price_minor,
    }
}

pub const SERVICES: [Service; 10] = [
    service("Deep tissue 60", "Massage", 60, 15, 8_000),
    service("Deep tissue 90", "Massage", 90, 15, 11_000),
    service("Hot stone 75", "Massage", 75, 15, 9_500),
    service("Swedish 45", "Massage", 45, 15, 5_500),
    service("Signature facial", "Face", 60, 15, 7_500),
    service("Express facial", "Face", 30, 0, 4_000),
    service("Salt scrub", "Body", 45, 15, 6_000),
    service("Hammam and wrap", "Body", 90, 30, 12_000),
    service("Manicure", "Hands", 45, 0, 3_500),
    service("Paraffin hands", "Hands", 30, 0, 3_000),
];

pub fn location_id() -> Uuid {
    id("location", 0)
}

pub fn staff_id(n: usize) -> Uuid {
    id("staff", n)
}

pub fn room_id(n: usize) -> Uuid {
    id("room", n)
}

pub fn service_id(n: usize) -> Uuid {
    id("service", n)
}

pub fn customer_id(n: usize) -> Uuid {
    id("customer", n)
}

/// As `api.put_catalogue` takes it.
pub fn catalogue() -> Value {
    let staff = STAFF.iter().enumerate();
    let mut resources: Vec<Value> = staff
        .clone()
        .map(|(n, s)| json!({ "resource_id": staff_id(n), "location_id": location_id(), "kind": "staff", "name": s.name }))
        .collect();
    resources.extend(ROOMS.iter().enumerate().map(|(n, (name, _))| {
        json!({ "resource_id": room_id(n), "location_id": location_id(), "kind": "room", "name": name })
    }));
    let hours: Vec<Value> = staff
        .flat_map(|(n, s)| {
            s.days.iter().flat_map(move |day| {
                s.shifts.iter().map(move |(opens, closes)| {
                    json!({ "resource_id": staff_id(n), "weekday": day, "opens": opens, "closes": closes })
                })
            })
        })
        .collect();
    let mut able = vec![];
    for (s, service) in SERVICES.iter().enumerate() {
        for (n, staff) in STAFF.iter().enumerate() {
            if staff.performs.contains(&service.category) {
                able.push(json!({ "service_id": service_id(s), "resource_id": staff_id(n) }));
            }
        }
        for (n, (_, categories)) in ROOMS.iter().enumerate() {
            if categories.contains(&service.category) {
                able.push(json!({ "service_id": service_id(s), "resource_id": room_id(n) }));
            }
        }
    }
    let services: Vec<Value> = SERVICES
        .iter()
        .enumerate()
        .map(|(n, s)| {
            json!({ "service_id": service_id(n), "name": s.name, "category": s.category, "duration_min": s.minutes,
                    "buffer_after_min": s.after_min, "price_minor": s.price_minor, "currency": CURRENCY })
        })
        .collect();
    json!({
        "locations": [{ "location_id": location_id(), "business_name": "Halcyon Lisboa", "name": "Chiado", "zone": ZONE, "currency": CURRENCY }],
        "resources": resources, "services": services, "service_resources": able, "working_hours": hours,
    })
}

/// Name and the part before `@example.com`. Nobody here exists.
pub const CUSTOMERS: [(&str, &str); 60] = [
    ("Inês Carvalho", "ines.carvalho"),
    ("Duarte Pimentel", "duarte.p"),
    ("Maria do Carmo Antunes", "mcarmo"),
    ("Nuno Sequeira", "nuno.seq"),
    ("Beatriz Nogueira", "bea.nogueira"),
    ("Rui Valadares", "rui.val"),
    ("Leonor Teles", "leonor.teles"),
    ("Gonçalo Arruda", "goncalo.a"),
    ("Mafalda Rebelo", "mafalda.r"),
    ("Vasco Quintela", "vasco.q"),
    ("Teresa Lobo", "teresa.lobo"),
    ("Simão Barreto", "simao.b"),
    ("Clara Monteiro", "clara.m"),
    ("Afonso Galvão", "afonso.galvao"),
    ("Filipa Serrano", "filipa.s"),
    ("Henrique Dantas", "h.dantas"),
    ("Emma Lindqvist", "emma.lindqvist"),
    ("Oskar Nyström", "oskar.n"),
    ("Siobhán O'Neill", "siobhan"),
    ("Liam Gallagher-Byrne", "liam.gb"),
    ("Hannah Müller", "hannah.mueller"),
    ("Jürgen Weiß", "j.weiss"),
    ("Zoë van der Berg", "zoe.vdb"),
    ("Pieter de Groot", "pieter.dg"),
    ("Chloé Dubois", "chloe.d"),
    ("François Lefèvre", "f.lefevre"),
    ("Giulia Ricci", "giulia.r"),
    ("Marco D'Angelo", "m.dangelo"),
    ("Lucía Fernández", "lucia.f"),
    ("Íñigo Echeverría", "inigo.e"),
    ("Katarzyna Wójcik", "kasia.w"),
    ("Paweł Zieliński", "pawel.z"),
    ("Ayşe Yılmaz", "ayse.y"),
    ("Μαρία Παπαδοπούλου", "maria.pap"),
    ("Дмитро Коваленко", "d.kovalenko"),
    ("Анна Соколова", "anna.s"),
    ("نور الخطيب", "nour.k"),
    ("يوسف حداد", "youssef.h"),
    ("דנה לוי", "dana.levi"),
    ("अनन्या शर्मा", "ananya.s"),
    ("Νίκος Αλεξίου", "nikos"),
    ("Li Jing", "li.jing"),
    ("Ken Satō", "ken.sato"),
    ("שירה לוי", "shira.levi"),
    ("Nguyễn Thị Mai", "mai.nguyen"),
    ("Chidi Okonkwo", "chidi.o"),
    ("Amara Diallo", "amara.d"),
    ("Thandiwe Nkosi", "thandiwe"),
    ("Sofía Castañeda", "sofia.c"),
    ("João Pedro Albuquerque", "jp.albuquerque"),
    ("Isabela Moura", "isabela.m"),
    ("Noah Fischer", "noah.f"),
    ("Olivia Bennett", "olivia.b"),
    ("Grace Mbeki", "grace.mbeki"),
    ("Matilde Sampaio", "matilde.s"),
    ("Xavier Roca", "xavier.roca"),
    ("Eleni Georgiou", "eleni.g"),
    ("Björk Einarsdóttir", "bjork.e"),
    ("Ēriks Ozols", "eriks.o"),
    ("Ana Rita Falcão", "anarita.f"),
];
