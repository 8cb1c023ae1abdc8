"""Write the example documents: `python tools/make_documents.py [FOLDER]`.

Every file is written or drawn here, from text made up for this project (no person, firm or number is real), so that all
of them may be redistributed under CC0. The same run gives the same bytes: no clock, no random source without a seed,
and archives with fixed times. The files are committed as well, because the bytes of a PNG or JPEG depend on the version
of Pillow, and a checkout must not need Pillow to have its documents.

Scanned pages carry their true text beside them as `<name>.truth.txt`, one line of the page per line.
"""

# ruff: noqa: E501 - the lines of a document are as long as the document wants them

import argparse
import io
import random
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "documents"
EPOCH = (2026, 1, 1, 0, 0, 0)
PAGE = (1000, 1414)
"""A4 at about 120 dots per inch: small files that an OCR engine still reads."""
WORD_GAP = 0.55
"""Space between words in heights of the type: a typewriter's, which OCR engines keep as a space more surely."""


def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib carries it: a free font at a known place on every machine with this lock file."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


# ---------------------------------------------------------------------------------------------------- scanned pages


def scan(lines: Sequence[str], *, seed: str, size: tuple[int, int] = PAGE, tilt: float = 0.35) -> Image.Image:
    """A page as a scanner gives it: grey paper, a little noise, a slight turn, soft edges.

    A line that starts with `#` is a heading. A line holding `|` is a row of columns.
    """
    dice = random.Random(seed)  # noqa: S311 - paper grain, not a secret
    page = Image.new("L", size, 247)
    draw = ImageDraw.Draw(page)
    y = 70
    for line in lines:
        heading = line.startswith("#")
        face = font(34 if heading else 25, bold=heading)
        cells = [cell.strip() for cell in line.lstrip("# ").split("|")]
        step = (size[0] - 160) // len(cells)
        for column, cell in enumerate(cells):
            x = 80.0 + column * step
            for word in cell.split():
                draw.text((x, y), word, fill=25, font=face)
                x += face.getlength(word) + WORD_GAP * face.size
        y += 62 if heading else 46
    page = page.rotate(tilt, resample=Image.Resampling.BICUBIC, fillcolor=247)
    page = page.filter(ImageFilter.GaussianBlur(0.4))
    for _ in range(350):
        x, y = dice.randrange(size[0]), dice.randrange(size[1])
        page.putpixel((x, y), dice.randrange(150, 235))
    return page


def truth(lines: Sequence[str]) -> str:
    """The text of a scanned page, line by line, without the marks that only steer the drawing."""
    return "".join(
        " ".join(part.strip() for part in line.lstrip("# ").split("|")) + "\n" for line in lines if line
    )


DELIVERY_NOTE = [
    "# DELIVERY NOTE",
    "Nordhafen Instruments GmbH",
    "Speicherstrasse 14, 20457 Hamburg",
    "Delivery number: LS-2026-00417",
    "Date: 2026-03-18",
    "",
    "Item | Quantity | Weight",
    "Vibration sensor VS-40 | 24 | 7.2 kg",
    "Gateway GW-2 | 3 | 4.5 kg",
    "Mounting kit | 24 | 2.4 kg",
    "Cable M12, 5 m | 24 | 6.0 kg",
    "",
    "Total weight: 20.1 kg",
    "Received in good order by the warehouse.",
    "Please report damage within 7 days.",
]

LETTER = [
    "# Municipal Library of Ostermark",
    "12 Harbour Lane",
    "Ostermark, 9 February 2026",
    "",
    "Dear Ms Lindqvist,",
    "",
    "thank you for lending us the three boxes of harbour",
    "registers. Our team has now scanned 1,284 pages.",
    "The pages from 1911 to 1923 were damaged by water,",
    "but almost every entry could still be read.",
    "",
    "We would like to return the originals on 2 March and",
    "to hand over a copy of all images on the same day.",
    "Please tell us whether 10:30 would suit you.",
    "",
    "Yours sincerely,",
    "Tomas Berg, Archive department",
]

RECEIPT = [
    "# CAFE ZUR ALTEN WAAGE",
    "Marktplatz 3, 04109 Leipzig",
    "Receipt 88123",
    "2026-04-02 12:47",
    "",
    "2 Coffee | 7.60",
    "1 Soup of the day | 6.90",
    "1 Apple cake | 4.20",
    "",
    "Total EUR | 18.70",
    "VAT 7 % included | 1.22",
    "Paid by card",
    "Thank you for your visit",
]

INVOICE_SCAN = [
    "# INVOICE 2026-0731",
    "Brightwater Pumps Ltd",
    "Unit 6, Canal Works, Leeds",
    "Invoice date: 2026-05-06",
    "Due date: 2026-06-05",
    "",
    "Description | Hours | Amount",
    "Pump inspection | 6 | 540.00",
    "Seal replacement | 3 | 270.00",
    "Spare parts | - | 184.50",
    "",
    "Net amount: 994.50 EUR",
    "VAT 19 %: 188.96 EUR",
    "Total: 1,183.46 EUR",
    "",
    "Please transfer the total to the account below",
    "and quote the invoice number.",
]

INVOICE_SCAN_2 = [
    "# Annex to invoice 2026-0731",
    "Work report of 4 May 2026",
    "",
    "The main pump showed a worn shaft seal.",
    "Pressure before repair: 3.1 bar",
    "Pressure after repair: 4.8 bar",
    "Next inspection due in November 2026.",
    "",
    "Engineer: R. Okafor",
]

FORM = [
    "# Request for remote work",
    "Employee: Ines Marquez",
    "Department: Field Service",
    "From: 2026-07-06",
    "To: 2026-07-17",
    "",
    "Place of work: Valencia",
    "Reason: family care",
    "Equipment taken: laptop 5521, headset",
    "",
    "Approved by: D. Novak",
    "Date: 2026-06-22",
]

# ------------------------------------------------------------------------------------------------------ plain texts

MEETING_NOTES = """\
Meeting notes: document pipeline, weekly
Date: 2026-03-09, 10:00 to 10:40
Present: Amara (platform), Jonas (operations), Priya (records office), Luc (finance)

1. Last week
   The pipeline took 41,200 documents. The longest wait was 94 seconds, on Tuesday morning, when the records office sent
   6,000 scans within four minutes. Nobody lost a document. Jonas showed that 3 percent of the invocations were cold and
   that most of the cold time was the download of the classifier, not the start of the sandbox.

2. Decisions
   - Keep two environments of the classifier warm on weekdays from 07:00 to 18:00, one otherwise.
   - The OCR service keeps its limit of four pages at a time. Work that cannot be done in time is refused at once.
   - Scans above 40 MB go to the batch route; the records office agreed.

3. Open points
   Priya asks what happens when the same file arrives twice. Amara: the second one starts no second booking, and the
   report counts it as prevented. Luc wants the number of prevented duplicates on the monthly page.

4. Next steps
   Amara: budget per cold-start phase in the dashboard, until 2026-03-16.
   Jonas: drill with a dead OCR service, on 2026-03-12 at 14:00.
   Luc: cost of one warm environment per month, by mail to jonas@records.example.

Next meeting: 2026-03-16, 10:00.
"""

RUNBOOK = """\
# Runbook: the OCR service refuses work

**Sign.** The alarm `ocr-overloaded` is on, or executions wait in the state `Ocr` with the error `Overloaded`.

## What it means

The service answers `429` when its queue is full and `503` while it starts or drains. Both carry a `Retry-After` header.
The workflow honours it, so nothing is lost; documents become late, not wrong.

## What to do

1. Look at the backlog: `keepwarm report --json` prints the queue depth and the age of the oldest page.
2. If the service has no task, look at the capacity provider first. A GPU instance takes 3 to 6 minutes to start.
3. If tasks run but are slow, compare the batch size with the last week. A driver that fell back to the CPU shows the
   provider `CPUExecutionProvider` in `/readyz`.
4. Do **not** raise the concurrency of the function. The service is the limit, and more callers only make more refusals.

| Backlog per task | Action |
|---|---|
| below 8 | nothing |
| 8 to 30 | wait for the scaling policy |
| above 30 | raise the maximum of tasks by one |

## Afterwards

Write the start time, the end time and the number of late documents into the log of incidents. Contact:
`operations@records.example`.
"""

SERVICE_REPORT = """\
<!DOCTYPE html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <title>Service report, first quarter of 2026</title>
  <style>body { font-family: sans-serif; max-width: 60em } td { padding: 0 1em }</style>
  <script>document.title = "script text is not part of the document";</script>
</head>
<body>
  <h1>Service report, first quarter of 2026</h1>
  <p>The document service answered <strong>99.94&nbsp;%</strong> of all requests within their deadline. Two incidents
  reduced the figure: a network fault on 12 January 2026 and a slow rollout on 3 March 2026.</p>
  <h2>Figures</h2>
  <table>
    <tr><th>Month</th><th>Documents</th><th>Cold starts</th><th>Cost</th></tr>
    <tr><td>January</td><td>158,204</td><td>1,911</td><td>EUR 412.10</td></tr>
    <tr><td>February</td><td>149,977</td><td>1,203</td><td>EUR 388.45</td></tr>
    <tr><td>March</td><td>171,630</td><td>640</td><td>EUR 401.93</td></tr>
  </table>
  <h2>What changed</h2>
  <ul>
    <li>The classifier is kept warm on weekdays; cold starts fell by two thirds.</li>
    <li>Models are verified while they are downloaded, which costs no extra time.</li>
    <li>Retries now follow the answer of the service &amp; stop at the deadline.</li>
  </ul>
  <p>Questions go to <a href="mailto:service@records.example">service@records.example</a>.</p>
</body>
</html>
"""

USAGE_CSV = """\
date,function,invocations,cold_starts,provisioned_hits,p50_ms,p99_ms,cost_eur
2026-03-02,classify,8123,14,8109,6.1,48.0,1.92
2026-03-02,extract,8123,201,0,31.4,890.2,2.77
2026-03-02,ocr,2410,88,0,640.7,2904.5,4.31
2026-03-02,enrich,8101,190,0,8.8,310.0,0.95
2026-03-02,publish,8099,187,0,21.5,402.7,1.10
2026-03-03,classify,7764,11,7753,6.0,47.2,1.88
2026-03-03,extract,7764,177,0,30.9,860.4,2.61
2026-03-03,ocr,2268,90,0,655.2,3010.8,4.12
2026-03-03,enrich,7750,171,0,8.6,298.8,0.90
2026-03-03,publish,7750,169,0,21.1,391.5,1.04
"""

EVENT_JSON = """\
{
  "event": "keepwarm.example",
  "request_id": "6f0f5b1e-8f7e-4b6a-9d65-0c5e7e0b9a41",
  "outcome": "succeeded",
  "cold": true,
  "pool": "on-demand",
  "phases_ms": {"runtime_init": 58.1, "imports": 212.7, "fetch": 161.4, "verify": 1.8, "load": 74.9, "warmup": 12.2},
  "document": {
    "name": "delivery-note.png",
    "label": "png",
    "note": "The registers of 1911 are kept in box 3; see the letter of 9 February 2026."
  },
  "downstream": [
    {"service": "ocr", "queue_ms": 12, "status": 200},
    {"service": "ledger", "queue_ms": 0, "status": 200}
  ],
  "duration_ms": 731.6,
  "attempt": 1
}
"""

ORDER_XML = """\
<?xml version="1.0" encoding="UTF-8"?>
<PurchaseOrder xmlns="urn:example:orders:1" number="PO-2026-1187" date="2026-02-24" currency="EUR">
  <Buyer>
    <Name>Records Office of Ostermark</Name>
    <Contact>einkauf@records.example</Contact>
  </Buyer>
  <Seller>
    <Name>Nordhafen Instruments GmbH</Name>
    <Address>Speicherstrasse 14, 20457 Hamburg</Address>
  </Seller>
  <Lines>
    <Line number="1"><Item>Document scanner DS-900</Item><Quantity>2</Quantity><Price>1290.00</Price></Line>
    <Line number="2"><Item>Maintenance, 24 months</Item><Quantity>2</Quantity><Price>310.00</Price></Line>
    <Line number="3"><Item>Lamp module &amp; glass plate</Item><Quantity>4</Quantity><Price>58.50</Price></Line>
  </Lines>
  <Total>3434.00</Total>
  <Remark>Delivery to the back entrance, weekdays before 15:00.</Remark>
</PurchaseOrder>
"""

CUSTOMER_MAIL = """\
Return-Path: <birgit.sommer@kundin.example>
Received: from mail.kundin.example (mail.kundin.example [192.0.2.17])
 by mx.records.example with ESMTPS id 4Zx1; Mon, 11 May 2026 08:42:12 +0200
Delivered-To: service@records.example
From: Birgit Sommer <birgit.sommer@kundin.example>
To: service@records.example
Subject: =?utf-8?q?R=C3=BCckfrage_zu_Rechnung_2026-0731?=
Date: Mon, 11 May 2026 08:42:10 +0200
Message-ID: <20260511.084210.1@kundin.example>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="=_part_1"

--=_part_1
Content-Type: text/plain; charset="utf-8"
Content-Transfer-Encoding: quoted-printable

Guten Tag,

auf der Rechnung 2026-0731 vom 06.05.2026 steht ein Betrag von 1.183,46 EUR. =
Vereinbart waren f=C3=BCr die Wartung der Pumpe jedoch h=C3=B6chstens 1.000,00 EUR. =
K=C3=B6nnen Sie mir bitte erkl=C3=A4ren, wie die Ersatzteile berechnet wurden?

Falls ich Unterlagen nachreichen soll, schreiben Sie mir bis zum 20.05.2026.

Mit freundlichen Gr=C3=BC=C3=9Fen
Birgit Sommer

--=_part_1
Content-Type: text/html; charset="utf-8"
Content-Transfer-Encoding: quoted-printable

<html><body><p>Guten Tag,</p><p>auf der Rechnung 2026-0731 vom 06.05.2026 steht ein Betrag von 1.183,46 EUR.</p></body></html>

--=_part_1--
"""

REMINDER_RTF = r"""{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Helvetica;}}
{\*\generator written by hand;}
\f0\fs28\b Zahlungserinnerung\b0\par
\fs22\par
Stadtwerke Ostermark\par
Kundennummer: 44 817\par
Datum: 14.04.2026\par
\par
Sehr geehrte Frau Lindqvist,\par
\par
sicher haben Sie \'fcbersehen, dass die Rechnung vom 02.03.2026 \'fcber 86,40 EUR noch offen ist. Bitte \'fcberweisen Sie den Betrag bis zum 28.04.2026. Sollten Sie bereits gezahlt haben, betrachten Sie dieses Schreiben als gegenstandslos.\par
\par
Mit freundlichen Gr\'fc\'dfen\par
Ihre Stadtwerke\par
}
"""

WARM_POOL_PY = '''\
"""How many environments to keep warm for a day that has two peaks."""

from collections.abc import Iterable
from math import ceil


def arrivals_per_second(hour: int) -> float:
    """The load of the records office: scans in the morning, mail after lunch."""
    if 7 <= hour < 10:
        return 22.0
    if 13 <= hour < 15:
        return 14.0
    return 1.5


def warm_target(rate: float, service_s: float, headroom: float = 0.2) -> int:
    """Environments that a steady load keeps busy, with some room for bursts."""
    return max(1, ceil(rate * service_s * (1 + headroom)))


def schedule(hours: Iterable[int], service_s: float = 0.35) -> dict[int, int]:
    """The target for every hour of the day."""
    return {hour: warm_target(arrivals_per_second(hour), service_s) for hour in hours}


if __name__ == "__main__":
    for hour, count in schedule(range(24)).items():
        print(f"{hour:02d}:00  keep {count} warm")
'''

REPORT_PDF = [
    [
        "Capacity report for the document service",
        "Prepared on 2 April 2026 for the board of the records office",
        "",
        "1. Summary",
        "The service handled 479,811 documents in the first quarter of 2026. The busiest minute",
        "brought 1,540 documents, which is ten times the average. The queue took up the burst; no",
        "document waited longer than two minutes, and none was lost.",
        "",
        "2. Where the time goes",
        "A cold start of the classifier takes 512 ms in the median: 58 ms for the runtime, 213 ms for",
        "imports, 161 ms to fetch and verify the model, and 80 ms to load and warm it. Keeping two",
        "environments warm removes this time from 98 percent of the invocations.",
        "",
        "3. The narrow place",
        "Text recognition runs on one GPU with four pages at a time. It is busy for 61 percent of the",
        "working day. Above 85 percent the waiting time grows quickly, so the admission limit stays.",
    ],
    [
        "4. Recommendation",
        "Keep the scale-to-zero setting for the nights and weekends. A permanently running GPU would",
        "cost 640 EUR per month more and would save 31 minutes of waiting in the whole quarter.",
        "",
        "5. Risks",
        "The scanner contract ends on 30 September 2026. If the new scanners deliver colour pages, the",
        "transfer volume triples, and the download of pages becomes the longest phase.",
        "",
        "Contact: capacity@records.example",
    ],
]

CONTRACT_DOCX = [
    "Contrat de maintenance",
    "Entre la Bibliothèque municipale d'Ostermark, ci-après « le client », et la société Nordhafen Instruments GmbH, "
    "ci-après « le prestataire », il est convenu ce qui suit.",
    "Article 1 : Objet. Le prestataire assure la maintenance de deux numériseurs DS-900 installés dans les locaux du client.",
    "Article 2 : Durée. Le contrat prend effet le 1er avril 2026 pour une durée de vingt-quatre mois. Il est renouvelé "
    "tacitement, sauf dénonciation par écrit trois mois avant son terme.",
    "Article 3 : Délais. En cas de panne, le prestataire intervient dans un délai de huit heures ouvrées.",
    "Article 4 : Prix. Le prix annuel est de 310,00 EUR par appareil, hors taxes.",
    "Fait à Ostermark, le 24 février 2026.",
]

COST_XLSX: list[list[str | float]] = [
    ["Month", "Function", "Requests", "GB-seconds", "Cost EUR"],
    ["2026-01", "classify", 158204, 9875.5, 61.2],
    ["2026-01", "ocr", 47812, 38102.25, 188.4],
    ["2026-02", "classify", 149977, 9361.0, 58.05],
    ["2026-02", "ocr", 44310, 35310.75, 174.9],
    ["2026-03", "classify", 171630, 10712.0, 66.4],
    ["2026-03", "ocr", 51924, 41380.5, 204.66],
]

SLIDES_PPTX = [
    ["Scale to zero, honestly", "What an idle service costs, and what waking it up costs"],
    [
        "A cold start has eleven phases",
        "Scheduling is only the first of them",
        "Fetching and loading the model is usually the longest",
        "Measure each phase before you optimise one",
    ],
    [
        "Decision",
        "Keep the classifier warm on weekdays",
        "Let the GPU service sleep at night",
        "Review on 2026-09-01",
    ],
]

REPORT_ODT = [
    "Informe de la visita técnica",
    "Fecha de la visita: 18 de marzo de 2026. Lugar: sala de digitalización de la biblioteca municipal.",
    "Durante la visita se comprobó el estado de los dos escáneres y se sustituyó la lámpara del segundo equipo. "
    "Las páginas de prueba se leyeron sin errores y el tiempo medio por página fue de 1,8 segundos.",
    "Se recomienda limpiar el cristal cada semana y guardar las lámparas de repuesto en un lugar seco.",
    "La próxima revisión queda prevista para el mes de septiembre. Contacto: soporte@nordhafen.example.",
]


# ------------------------------------------------------------------------------------------------------- containers


def archive(entries: Sequence[tuple[str, str]], *, stored: Sequence[str] = ()) -> bytes:
    """A zip with a fixed time and order; `stored` entries are not compressed."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as target:
        for name, text in entries:
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            target.writestr(info, text.encode())
    return sink.getvalue()


def escape(text: str) -> str:
    """XML text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
VENDOR = "application/vnd.openxmlformats-officedocument."


def content_types(parts: Sequence[tuple[str, str]]) -> str:
    """The `[Content_Types].xml` of an office package."""
    overrides = "".join(
        f'<Override PartName="{name}" ContentType="{VENDOR}{kind}+xml"/>' for name, kind in parts
    )
    return (
        f'{XML}<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>'
    )


def relationships(targets: Sequence[tuple[str, str]]) -> str:
    """A `.rels` part: kind and target of each relationship."""
    rows = "".join(
        f'<Relationship Id="rId{number}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, 1)
    )
    return f'{XML}<Relationships xmlns="{PACKAGE}/relationships">{rows}</Relationships>'


def docx(paragraphs: Sequence[str]) -> bytes:
    """A Word document of plain paragraphs."""
    body = "".join(f"<w:p><w:r><w:t xml:space='preserve'>{escape(p)}</w:t></w:r></w:p>" for p in paragraphs)
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    return archive(
        [
            (
                "[Content_Types].xml",
                content_types([("/word/document.xml", "wordprocessingml.document.main")]),
            ),
            ("_rels/.rels", relationships([("officeDocument", "word/document.xml")])),
            (
                "word/document.xml",
                f'{XML}<w:document xmlns:w="{space}"><w:body>{body}<w:sectPr/></w:body></w:document>',
            ),
            ("word/_rels/document.xml.rels", relationships([])),
        ]
    )


def xlsx(rows: Sequence[Sequence[str | float]]) -> bytes:
    """A workbook of one sheet; texts go through the shared strings, as Excel writes them."""
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    strings: list[str] = []
    lines = []
    for number, row in enumerate(rows, 1):
        cells = []
        for column, value in enumerate(row):
            place = f"{chr(65 + column)}{number}"
            if isinstance(value, str):
                if value not in strings:
                    strings.append(value)
                cells.append(f'<c r="{place}" t="s"><v>{strings.index(value)}</v></c>')
            else:
                cells.append(f'<c r="{place}"><v>{value}</v></c>')
        lines.append(f'<row r="{number}">{"".join(cells)}</row>')
    shared = "".join(f"<si><t>{escape(text)}</t></si>" for text in strings)
    return archive(
        [
            (
                "[Content_Types].xml",
                content_types(
                    [
                        ("/xl/workbook.xml", "spreadsheetml.sheet.main"),
                        ("/xl/worksheets/sheet1.xml", "spreadsheetml.worksheet"),
                        ("/xl/sharedStrings.xml", "spreadsheetml.sharedStrings"),
                    ]
                ),
            ),
            ("_rels/.rels", relationships([("officeDocument", "xl/workbook.xml")])),
            (
                "xl/workbook.xml",
                f'{XML}<workbook xmlns="{space}" xmlns:r="{OFFICE}"><sheets>'
                '<sheet name="Costs" sheetId="1" r:id="rId1"/></sheets></workbook>',
            ),
            (
                "xl/_rels/workbook.xml.rels",
                relationships(
                    [("worksheet", "worksheets/sheet1.xml"), ("sharedStrings", "sharedStrings.xml")]
                ),
            ),
            (
                "xl/worksheets/sheet1.xml",
                f'{XML}<worksheet xmlns="{space}"><sheetData>{"".join(lines)}</sheetData></worksheet>',
            ),
            ("xl/sharedStrings.xml", f'{XML}<sst xmlns="{space}">{shared}</sst>'),
        ]
    )


def pptx(slides: Sequence[Sequence[str]]) -> bytes:
    """Slides of plain lines. Text only: no master, since only readers of text open it."""
    draw = "http://schemas.openxmlformats.org/drawingml/2006/main"
    space = "http://schemas.openxmlformats.org/presentationml/2006/main"
    parts = []
    for number, lines in enumerate(slides, 1):
        body = "".join(f"<a:p><a:r><a:t>{escape(line)}</a:t></a:r></a:p>" for line in lines)
        parts.append(
            (
                f"ppt/slides/slide{number}.xml",
                f'{XML}<p:sld xmlns:p="{space}" xmlns:a="{draw}"><p:cSld><p:spTree><p:sp><p:txBody><a:bodyPr/>'
                f"{body}</p:txBody></p:sp></p:spTree></p:cSld></p:sld>",
            )
        )
    names = [(f"/{name}", "presentationml.slide") for name, _ in parts]
    ids = "".join(f'<p:sldId id="{255 + n}" r:id="rId{n}"/>' for n in range(1, len(slides) + 1))
    return archive(
        [
            (
                "[Content_Types].xml",
                content_types([("/ppt/presentation.xml", "presentationml.presentation.main"), *names]),
            ),
            ("_rels/.rels", relationships([("officeDocument", "ppt/presentation.xml")])),
            (
                "ppt/presentation.xml",
                f'{XML}<p:presentation xmlns:p="{space}" xmlns:r="{OFFICE}"><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>',
            ),
            (
                "ppt/_rels/presentation.xml.rels",
                relationships([("slide", f"slides/slide{n}.xml") for n in range(1, len(slides) + 1)]),
            ),
            *parts,
        ]
    )


def odt(paragraphs: Sequence[str]) -> bytes:
    """An OpenDocument text; its `mimetype` comes first and uncompressed, as the format asks."""
    office = "urn:oasis:names:tc:opendocument:xmlns:office:1.0"
    words = "urn:oasis:names:tc:opendocument:xmlns:text:1.0"
    kind = "application/vnd.oasis.opendocument.text"
    body = f"<text:h>{escape(paragraphs[0])}</text:h>" + "".join(
        f"<text:p>{escape(text)}</text:p>" for text in paragraphs[1:]
    )
    manifest = "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"
    return archive(
        [
            ("mimetype", kind),
            (
                "content.xml",
                f'<?xml version="1.0" encoding="UTF-8"?><office:document-content xmlns:office="{office}" '
                f'xmlns:text="{words}" office:version="1.2"><office:body><office:text>{body}</office:text>'
                "</office:body></office:document-content>",
            ),
            (
                "META-INF/manifest.xml",
                f'<?xml version="1.0" encoding="UTF-8"?><manifest:manifest xmlns:manifest="{manifest}">'
                f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>'
                '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>',
            ),
        ],
        stored=["mimetype"],
    )


class Pdf:
    """Just enough of PDF 1.4: numbered objects, a page tree, a cross-reference table."""

    def __init__(self) -> None:
        self._objects: list[bytes] = [b"", b""]

    def add(self, body: bytes) -> int:
        """Keep an object and return its number. 1 and 2 are the catalogue and the page tree."""
        self._objects.append(body)
        return len(self._objects)

    def stream(self, head: bytes, body: bytes) -> int:
        """Keep a stream object."""
        return self.add(b"<< %s /Length %d >>\nstream\n%s\nendstream" % (head, len(body), body))

    def finish(self, pages: Sequence[int]) -> bytes:
        """The whole file."""
        kids = b" ".join(b"%d 0 R" % page for page in pages)
        self._objects[0] = b"<< /Type /Catalog /Pages 2 0 R >>"
        self._objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(pages), kids)
        out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
        places = []
        for number, body in enumerate(self._objects, 1):
            places.append(len(out))
            out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        start = len(out)
        out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
        out += b"".join(b"%010d 00000 n \n" % place for place in places)
        out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, start)
        return bytes(out)


def text_pdf(pages: Sequence[Sequence[str]]) -> bytes:
    """Pages of text in Helvetica, which no file has to carry."""
    pdf = Pdf()
    face = pdf.add(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    numbers = []
    for lines in pages:
        shown = b" T* ".join(
            b"(%s) Tj"
            % line.encode("cp1252").replace(b"\\", rb"\\").replace(b"(", rb"\(").replace(b")", rb"\)")
            for line in lines
        )
        content = zlib.compress(b"BT /F1 11 Tf 15 TL 60 780 Td %s ET" % shown, 9)
        body = pdf.stream(b"/Filter /FlateDecode", content)
        numbers.append(
            pdf.add(
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 %d 0 R >> >> "
                b"/Contents %d 0 R >>" % (face, body)
            )
        )
    return pdf.finish(numbers)


def scanned_pdf(pages: Sequence[Image.Image]) -> bytes:
    """Pages that are one picture each, as an office scanner sends them: a JPEG first, then lossless ones."""
    pdf = Pdf()
    numbers = []
    for position, page in enumerate(pages):
        if position == 0:
            head, data = b"/Filter /DCTDecode", jpeg(page)
        else:
            page = page.quantize(16).convert("L")
            head, data = b"/Filter /FlateDecode", zlib.compress(page.tobytes(), 9)
        picture = pdf.stream(
            b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8 %s"
            % (page.width, page.height, head),
            data,
        )
        body = pdf.stream(b"", b"q 595 0 0 842 0 0 cm /Im0 Do Q")
        numbers.append(
            pdf.add(
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /XObject << /Im0 %d 0 R >> >> "
                b"/Contents %d 0 R >>" % (picture, body)
            )
        )
    return pdf.finish(numbers)


def jpeg(page: Image.Image) -> bytes:
    """JPEG at a scanner's usual quality."""
    sink = io.BytesIO()
    page.save(sink, "JPEG", quality=72)
    return sink.getvalue()


def png(page: Image.Image) -> bytes:
    """A grey PNG that uses sixteen greys, which keeps a scan small."""
    sink = io.BytesIO()
    page.quantize(16).convert("L").save(sink, "PNG", optimize=True)
    return sink.getvalue()


def tiff(page: Image.Image) -> bytes:
    """Black and white with CCITT group 4, the format of fax machines and archives."""
    sink = io.BytesIO()
    page.point(lambda value: 255 if value > 150 else 0).convert("1").save(
        sink, "TIFF", compression="group4", dpi=(120, 120)
    )
    return sink.getvalue()


def documents() -> dict[str, bytes]:
    """Name and bytes of every file of the folder, truths included."""
    scans = {
        "delivery-note.png": DELIVERY_NOTE,
        "library-letter.png": LETTER,
        "cafe-receipt.jpg": RECEIPT,
        "remote-work-form.tiff": FORM,
        "pump-invoice-scan.pdf": [*INVOICE_SCAN, *INVOICE_SCAN_2],
    }
    files = {
        "meeting-notes.txt": MEETING_NOTES.encode(),
        "ocr-runbook.md": RUNBOOK.encode(),
        "service-report.html": SERVICE_REPORT.encode(),
        "usage.csv": USAGE_CSV.encode(),
        "result-event.json": EVENT_JSON.encode(),
        "purchase-order.xml": ORDER_XML.encode(),
        "customer-mail.eml": CUSTOMER_MAIL.replace("\n", "\r\n").encode(),
        "payment-reminder.rtf": REMINDER_RTF.encode(),
        "warm_pool.py": WARM_POOL_PY.encode(),
        "capacity-report.pdf": text_pdf(REPORT_PDF),
        "maintenance-contract.docx": docx(CONTRACT_DOCX),
        "costs.xlsx": xlsx(COST_XLSX),
        "scale-to-zero.pptx": pptx(SLIDES_PPTX),
        "technical-visit.odt": odt(REPORT_ODT),
        "delivery-note.png": png(scan(DELIVERY_NOTE, seed="delivery")),
        "library-letter.png": png(scan(LETTER, seed="letter", tilt=-0.4)),
        "cafe-receipt.jpg": jpeg(scan(RECEIPT, seed="receipt", size=(800, 900), tilt=0.6)),
        "remote-work-form.tiff": tiff(scan(FORM, seed="form", size=(1000, 900), tilt=0.2)),
        "pump-invoice-scan.pdf": scanned_pdf(
            [scan(INVOICE_SCAN, seed="invoice"), scan(INVOICE_SCAN_2, seed="annex", size=(1000, 700))]
        ),
    }
    return files | {f"{name}.truth.txt": truth(lines).encode() for name, lines in scans.items()}


def main() -> None:
    """Write the folder."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder: Path = options.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in documents().items():
        (folder / name).write_bytes(body)
        print(f"{len(body):>8}  {name}")


if __name__ == "__main__":
    main()
