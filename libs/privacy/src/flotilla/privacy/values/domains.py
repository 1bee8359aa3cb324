"""Top-level domains that make a dotted word a domain; those that are ends of file names are left out."""

from typing import Final

from flotilla.privacy.values.regions import words

# Generic ones in use (IANA, 2026), and every country's but md, py, rs, sh, so: README.md is no domain.
TOP_LEVEL: Final = words(
    "com org net edu gov mil int info biz name pro aero coop museum jobs mobi travel tel cat asia post xxx eu "
    "app dev io ai cloud online site website shop store blog tech xyz top club live news media agency email "
    "company group health clinic hospital care doctor dental law legal lawyer tax finance bank insurance "
    "consulting solutions services systems software network digital design studio world life today link page "
    "space wiki zone berlin hamburg koeln bayern paris london nyc wien gmbh swiss cymru scot bzh corsica eus "
    "gal ac ad ae af ag al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bv bw by "
    "bz ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et fi fj fk "
    "fm fo fr ga gb gd ge gf gg gh gi gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in iq ir "
    "is it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr ls lt lu lv ly ma mc me mg mh mk ml "
    "mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk pm pn "
    "pr ps pt pw qa re ro ru rw sa sb sc sd se sg si sk sl sm sn sr st su sv sx sy sz tc td tf tg th tj tk tl "
    "tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws ye pl yt za zm zw"
)
