fn main() {
    print!("{}", bizing_engine::app::typescript::typescript());
}
