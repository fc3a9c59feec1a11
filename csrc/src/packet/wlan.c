/* wlan.c - IEEE 802.11 data frames, and the headers that capturing puts in front of them. */
#include "numbers.h"
#include "packet.h"

/* Reads an 802.11 frame up to its LLC header, if it is a data frame that isn't encrypted (IEEE 802.11-2020, 9.2.4 and
 * 9.3.2). */
int fc_wlan(fc_frame *f, int layer)
{
    const uint8_t *p = fc_take(f, 24);
    if (!p)
        return FC_LAYER_NONE;
    uint16_t control = layer == FC_LAYER_WLAN_SWAPPED ? fc_be16(p) : fc_le16(p);
    int is_data = (control & 0x000f) == 0x0008, is_null = (control & 0x0040) != 0, is_protected = control >> 14 & 1;
    if (is_data && is_protected)
        return fc_unread(f, FC_UNREAD_ENCRYPTED, FC_LINK_IEEE802_11);
    if (!is_data || is_null || (p[22] & 15)) /* [22]: fragment number; only number 0 has the LLC header */
        return fc_unread(f, FC_UNREAD_FRAME, FC_LINK_IEEE802_11);
    uint32_t header = 24;
    int aggregated = 0;
    if ((control & 0x0300) == 0x0300) /* frames between access points have a fourth address */
        header += 6;
    if (control & 0x0080) { /* QoS */
        if (!fc_take(f, header - 24 + 2))
            return FC_LAYER_NONE;
        aggregated = p[header] & 0x80;
        f->at -= header - 24 + 2;
        header += control & 0x8000 ? 6 : 2; /* with an HT control field */
    }
    if (layer == FC_LAYER_WLAN_PADDED)
        header = (header + 3) & ~3u;
    if (aggregated) /* A-MSDU: go to the first subframe, since one record gives one key */
        header += 14;
    return fc_behind(f, header - 24, FC_LAYER_LLC);
}

/* Reads a radiotap header (https://www.radiotap.org). Its flags field says whether the 802.11 header is padded to a
 * multiple of 4 octets. */
int fc_radiotap(fc_frame *f)
{
    uint32_t start = f->at;
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    uint32_t length = fc_le16(p + 2), at = 4, present = fc_le32(p + 4);
    if (p[0] != 0 || length < 8)
        return fc_unread(f, FC_UNREAD_FRAME, FC_LINK_IEEE802_11_RADIOTAP);
    if (!fc_take(f, length - 8))
        return FC_LAYER_NONE;
    for (uint32_t word = present; at += 4, word >> 31;) { /* further bitmaps */
        if (length - at < 4)
            return fc_unread(f, FC_UNREAD_FRAME, FC_LINK_IEEE802_11_RADIOTAP);
        word = fc_le32(f->data + start + at);
    }
    if (present & 1) /* TSFT: 8 octets, aligned */
        at = ((at + 7) & ~7u) + 8;
    int padded = (present & 2) && at < length && (f->data[start + at] & 0x20);
    return padded ? FC_LAYER_WLAN_PADDED : FC_LAYER_WLAN;
}

/* Reads an AVS header, which says in its first word that it is one, or else a Prism header, whose length is in the byte
 * order of the capturing machine. */
int fc_prism_or_avs(fc_frame *f)
{
    const uint8_t *p = fc_take(f, 8);
    if (!p)
        return FC_LAYER_NONE;
    uint32_t length = fc_be32(p + 4);
    if ((fc_be32(p) & 0xfffff000) != 0x80211000 && fc_le32(p + 4) < 0x10000)
        length = fc_le32(p + 4);
    if (length < 8)
        return fc_unread(f, FC_UNREAD_FRAME, FC_LINK_IEEE802_11_PRISM);
    return fc_behind(f, length - 8, FC_LAYER_WLAN);
}
