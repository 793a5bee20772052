"""Sample stock and sample people of the demonstration; all of them are invented.

Nothing here is real: titles, authors and names were made up for this project; identity numbers
follow the rule of GB 11643 with area codes of Chongqing and Chengdu and belong to nobody known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from stdnum.cn import ric

from connector.domain.bib import BibSummary
from connector.marc.write import build_record
from connector.plugins.hookspecs import DemoItem
from connector.ports.ils import MarcDialect

__all__ = ["ADULT_CARD", "ADULT_PIN", "PUPILS", "SampleItem", "SamplePupil", "sample_stock"]

ADULT_CARD = "A0000001"
ADULT_PIN = "4826"

_CHILDREN = [
    "龙河边的石板路",
    "山坡上的气象站",
    "会说话的渡船",
    "阿满的风筝",
    "名山脚下的小学堂",
    "稻田里的星星",
    "外婆的竹篮",
    "红嘴鸥飞过江面",
    "第三张课桌",
    "雾里的灯塔",
    "蚂蚁邮局",
    "月亮湾的秘密",
    "火车开进大山",
    "小满和她的菜园",
    "一只叫豆花的猫",
    "江上的纸船",
    "云朵修理铺",
    "榕树下的图书角",
    "爷爷的罗盘",
    "冬天的第一场雪",
    "跑得最慢的人",
    "桥洞里的合唱团",
    "野菊花开的时候",
    "七只不一样的碗",
]
_GENERAL = [
    "长江航道史话",
    "乡村小学的一年",
    "巴蜀古镇漫步",
    "怎样观察一朵云",
    "数的故事",
    "身边的化学",
    "榨菜与码头",
    "给中学生的统计课",
    "地方戏台百影",
    "植物的迁徙",
    "一座县城的早晨",
    "纸的旅行",
    "古代的钟与漏",
    "桥梁的力气",
    "声音从哪里来",
    "春节的来历",
    "三峡库区鸟类手记",
    "算盘之外",
    "河流怎样改道",
    "茶马旧道",
    "县志里的天气",
    "写给孩子的宪法",
    "中学生急救常识",
    "山城的台阶",
]
_AUTHORS = ("陈远山", "李知微", "周晓渡", "王一禾", "何青川", "吴念慈", "郑小楼", "冯听雨")
_FOREIGN = (
    ("The Lantern Keeper's Map", "Harriet Ashgrove", "eng"),
    ("Numbers That Walk", "Owen Pell", "eng"),
    ("A Ferry in the Fog", "Maud Linwood", "eng"),
    ("Weather for Beginners", "Silas Thorne", "eng"),
    ("The Quiet Orchard", "Nell Farrow", "eng"),
    ("Seven Small Machines", "Ivo Marsh", "eng"),
    ("Le bateau de papier", "Colette Varenne", "fre"),
    ("La colline aux oiseaux", "Basile Morin", "fre"),
    ("Der leise Leuchtturm", "Greta Sommerau", "ger"),
    ("川辺の小さな駅", "三浦 汐里", "jpn"),
    ("雲の修理屋さん", "青木 灯", "jpn"),
    ("El jardín de Lucía", "Marisol Quevedo", "spa"),
)
_CLOSED = ("清末丰都街巷图考", "川东契约文书选", "民国县报影印集", "库区淹没前照片档案")
_REFERENCE = ("重庆方言词语大典", "中国鸟类分布图册")


@dataclass(frozen=True, slots=True)
class SampleItem:
    """One item of the sample stock; ``language`` is the MARC code of the text."""

    item: DemoItem
    title: str
    language: str
    loanable: bool


@dataclass(frozen=True, slots=True)
class SamplePupil:
    """An invented pupil, as a school would type him."""

    name: str
    id_number: str
    phone: str
    guardian_name: str
    guardian_phone: str
    class_name: str


def sample_stock(prefix: str = "301") -> tuple[SampleItem, ...]:
    """Return 66 items: 48 Chinese and 12 foreign ones to borrow, 6 that may not be lent.

    Args:
        prefix: what the barcodes begin with.
    """
    rows = [
        _Row(title, _AUTHORS[n % 8], "chi", "children", "I287", "kids")
        for n, title in enumerate(_CHILDREN)
    ]
    rows += [
        _Row(title, _AUTHORS[n % 8], "chi", "adult", "G634", "open")
        for n, title in enumerate(_GENERAL)
    ]
    rows += [_Row(title, author, code, "adult", "I561", "open") for title, author, code in _FOREIGN]
    rows += [
        _Row(title, _AUTHORS[n], "chi", "adult", "K297", "stack") for n, title in enumerate(_CLOSED)
    ]
    rows += [
        _Row(title, _AUTHORS[n], "chi", "adult", "Z256", "ref")
        for n, title in enumerate(_REFERENCE)
    ]
    return tuple(_sample_item(prefix, number, row) for number, row in enumerate(rows, start=1))


class _Row(NamedTuple):
    title: str
    author: str
    language: str
    collection: str
    clc_class: str
    place: str


def _sample_item(prefix: str, number: int, row: _Row) -> SampleItem:
    chinese = row.language == "chi"
    bib = BibSummary(
        title=row.title,
        author=row.author,
        isbn="",
        languages=(row.language,),
        clc_class=row.clc_class,
        publisher="龙河出版社" if chinese else "Longhe Press",
        year=str(2010 + number % 15),
    )
    dialect: MarcDialect = "cnmarc" if chinese and number % 3 else "marc21"
    barcode = f"{prefix}{number:05d}"
    item = DemoItem(
        barcode=barcode,
        record=build_record(bib, dialect, record_id=barcode),
        dialect=dialect,
        location=row.place,
        item_type="reference" if row.place == "ref" else "book",
        collection=row.collection,
        call_number=f"{row.clc_class}/{number:03d}",
    )
    return SampleItem(item, row.title, row.language, row.place not in {"stack", "ref"})


def _number(area: str, birth: str, sequence: str) -> str:
    body = f"{area}{birth}{sequence}"
    return body + str(ric.calc_check_digit(body + "0"))


PUPILS = (
    SamplePupil(
        "张小江", "500230201503010015", "13900000001", "张大河", "13900000011", "三年级1班"
    ),
    SamplePupil(
        "李知夏", _number("500230", "20150716", "002"), "", "李远", "13900000012", "三年级1班"
    ),
    SamplePupil("王一舟", "50023020160615007X", "13900000003", "王磊", "13900000013", "二年级2班"),
    SamplePupil(
        "陈念", _number("500102", "20160103", "014"), "", "陈松", "13900000014", "二年级2班"
    ),
    SamplePupil(
        "何小满",
        _number("510107", "20151122", "025"),
        "13900000005",
        "何川",
        "13900000015",
        "三年级2班",
    ),
    SamplePupil(
        "欧阳晴", _number("500230", "20150909", "041"), "", "欧阳文", "13900000016", "三年级2班"
    ),
    SamplePupil(
        "周听雪",
        _number("500230", "20160220", "068"),
        "13900000007",
        "周恒",
        "13900000017",
        "二年级1班",
    ),
    SamplePupil(
        "冯冬冬", _number("510107", "20160808", "033"), "", "冯立", "13900000018", "二年级1班"
    ),
)
"""Eight invented pupils of one invented school."""
