"""Python libraries that speak to DuckDB, on an attached database: Polars, SQLAlchemy with duckdb-engine."""
import datetime

import polars
import sqlalchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from conftest import extension_file


def test_polars_frames(attach_empty):
    con = attach_empty("r")
    frame = polars.DataFrame({"i": [1, 2, 3], "s": ["a", None, "c"], "l": [[1], [2, 3], None],
                              "d": [datetime.date(2024, 1, i) for i in (1, 2, 3)],
                              "c": polars.Series(["x", "y", "x"], dtype=polars.Categorical)})
    con.execute("CREATE TABLE r.t AS FROM frame")
    con.execute("INSERT INTO r.t SELECT i + 10, s, l, d, c FROM frame")
    assert con.execute("SELECT count(*) FROM r.t JOIN frame USING (i)").fetchone() == (3,)
    back = con.execute("FROM r.t WHERE i < 10 ORDER BY i").pl()
    assert back.with_columns(polars.col("c").cast(polars.String)).equals(
        frame.with_columns(polars.col("c").cast(polars.String)))
    con.execute("UPDATE r.t SET s = frame.s || '!' FROM frame WHERE t.i = frame.i + 10")
    assert con.execute("SELECT s FROM r.t WHERE i > 10 ORDER BY i").pl()["s"].to_list() == ["a!", None, "c!"]


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(sqlalchemy.Integer, sqlalchemy.Sequence("author_id"), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    born: Mapped[datetime.date] = mapped_column(nullable=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(sqlalchemy.Integer, sqlalchemy.Sequence("book_id"), primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(sqlalchemy.ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


def test_sqlalchemy(server, new_database):
    name = new_database()
    engine = sqlalchemy.create_engine("duckdb:///:memory:", poolclass=sqlalchemy.pool.StaticPool,
                                      connect_args={"config": {"allow_unsigned_extensions": True}})

    @sqlalchemy.event.listens_for(engine, "connect")
    def attach(connection, _):
        connection.execute(f"LOAD '{extension_file()}'")
        server.attach("r", name, con=connection)
        connection.execute("USE r")

    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Author(name="Ada", born=datetime.date(1815, 12, 10), books=[Book(title="Notes"), Book(title="More")]))
        session.add(Author(name="Bob"))
        session.commit()
        assert session.scalars(sqlalchemy.select(Book.title).join(Author).where(Author.name == "Ada")
                               .order_by(Book.id)).all() == ["Notes", "More"]
        session.add(Author(name="Ada"))
        try:
            session.flush()
            assert False, "two authors of one name"
        except sqlalchemy.exc.IntegrityError:
            session.rollback()
        session.execute(sqlalchemy.update(Author).where(Author.name == "Bob").values(name="Rob"))
        session.add(Author(name="gone"))
        session.flush()
        session.rollback()
        assert session.scalars(sqlalchemy.select(Author.name).order_by(Author.id)).all() == ["Ada", "Bob"]
    other = server.attach("r", name)
    assert other.execute("SELECT name, born FROM r.author ORDER BY id").fetchall() == [
        ("Ada", datetime.date(1815, 12, 10)), ("Bob", None)]
    assert sorted(sqlalchemy.inspect(engine).get_table_names()) == ["author", "book"]
    Base.metadata.drop_all(engine)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()
