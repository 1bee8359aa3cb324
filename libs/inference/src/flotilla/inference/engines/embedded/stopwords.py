"""Words that carry no subject, of the languages that business letters here are mostly written in."""

from typing import Final

_ENGLISH = """
a about above after again against all also although always am an and any are as at be because been before being below
between both but by can cannot could dear did do does doing done down due during each either else even ever every few
for from further get given go had has have having he hello her here hers herself hi him himself his how however i if in
into is it its itself just kind last least less let like made make many may me might more most much must my myself near
need neither next no nor not now of off often on once one only onto or other others our ours ourselves out over own per
please put rather re really regards said same say see shall she should since sincerely so some such than thank thanks
that the their theirs them themselves then there these they this those though through thus to too two under until up
upon us use used very via want was we well were what when where whether which while who whom whose why will with within
without would yes yet you your yours yourself
"""
_GERMAN = """
aber alle allem allen aller alles als also am an ander andere anderen auch auf aus bei beim bin bis bitte bzw da dabei
dafür daher damit dann darf das dass dazu dein dem den denn der deren des dessen die dies diese diesem diesen dieser
dieses doch dort du durch ein eine einem einen einer eines er es etwa euch euer für geehrte geehrter gegen haben habe
hat hatte hatten hier hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in ins ist ja jede jedem jeden jeder jedes
kann kein keine keinen können könnte liebe lieber mehr mein meine meinem meinen meiner mich mir mit muss müssen nach
nicht nichts noch nun nur ob oder ohne sehr sein seine seinem seinen seiner seit sich sie sind so sollte sondern sowie
über um und uns unser unsere unserem unseren unserer unter vom von vor war waren was weil welche wenn werden wie wieder
wir wird wurde wurden zu zum zur zwar zwischen freundlichen freundliche grüße grüßen hiermit
"""
_FRENCH = """
au aux avec ce ces cet cette comme dans de des donc du elle elles en est et été être eu fait il ils je la le les leur
leurs lui ma mais me même mes moi mon ne nos notre nous on ont ou où par pas plus pour qu que qui sa sans se ses si son
sont sur ta te tes toi ton très tu un une vos votre vous était avons avez
"""
_SPANISH_ITALIAN_PORTUGUESE_DUTCH = """
al algo como con cuando del desde donde el ella ellos entre era es esta este esto estos fue ha han hasta hay la las le
les lo los más me mi mis muy no nos nuestra nuestro o para pero por porque que se ser si sin sobre son su sus también
tiene todo un una uno usted y ya
alla alle anche che chi ci come cui da dal dalla degli dei del della delle di e gli ho i il io la loro ma mio ne nel
nella noi non per più questa questo se sei si sono sua suo tra un una voi è
ao aos as até com da das do dos ela ele em foi isso mais mas meu na nas nem no nos não os ou para pela pelo quando são
seu sua também tem um uma você
aan als bij dat de der deze die dit door een en er het hij hun ik in is je kan maar met mij naar niet nog of om ons ook
op te tot uit van voor was wat we wel werd wij worden wordt zich zij zijn zo
"""

STOPWORDS: Final = frozenset(f"{_ENGLISH} {_GERMAN} {_FRENCH} {_SPANISH_ITALIAN_PORTUGUESE_DUTCH}".split())
